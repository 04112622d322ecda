"""The model: configuration, vision tower, adapter, decoder, their union and its processor, known to `Auto*`."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from qwenvl.model.adapter import PositionAwareAdapter
from qwenvl.model.configuration import QwenVLConfig, QwenVLTextConfig, QwenVLVisionConfig, ReleasedConfig
from qwenvl.model.language import QwenVLTextModel
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration, QwenVLModel, QwenVLOutput
from qwenvl.model.vision import VisionTransformer

for _config, _model in (
    (QwenVLConfig, QwenVLModel),
    (QwenVLTextConfig, QwenVLTextModel),
    (QwenVLVisionConfig, VisionTransformer),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
AutoConfig.register(ReleasedConfig.model_type, ReleasedConfig, exist_ok=True)
AutoModelForImageTextToText.register(QwenVLConfig, QwenVLForConditionalGeneration, exist_ok=True)
AutoProcessor.register(QwenVLConfig, QwenVLProcessor, exist_ok=True)

__all__ = [
    "PositionAwareAdapter",
    "QwenVLConfig",
    "QwenVLForConditionalGeneration",
    "QwenVLModel",
    "QwenVLOutput",
    "QwenVLProcessor",
    "QwenVLTextConfig",
    "QwenVLTextModel",
    "QwenVLVisionConfig",
    "VisionTransformer",
]
