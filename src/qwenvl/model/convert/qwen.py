"""A released text model Qwen (Qwen-7B: `model_type` "qwen" without `visual`) as the decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from qwenvl.model.configuration import QwenVLTextConfig
from qwenvl.model.convert.checkpoint import is_derived
from qwenvl.model.convert.files import stored_tensors
from qwenvl.model.convert.official import native_view
from qwenvl.model.convert.official_config import native_config
from qwenvl.model.language import QwenVLTextModel

# Stands for the picture's side, which a text model's config.json does not have, where the same fields are read.
_NO_VISUAL = {"image_size": 14, "patch_size": 14, "width": 16, "layers": 1, "heads": 1, "mlp_ratio": 1.0}


class QwenForCausalLM(PreTrainedModel):  # type: ignore[misc]
    """Qwen's decoder and head under the names that they have inside a Qwen-VL: for reading their weights."""

    config: QwenVLTextConfig
    config_class = QwenVLTextConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: QwenVLTextConfig) -> None:
        super().__init__(config)
        self.model = nn.Module()
        self.model.language_model = QwenVLTextModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        return self.model.language_model.get_input_embeddings()  # type: ignore[operator, no-any-return, union-attr]


def text_config(released: dict[str, Any]) -> QwenVLTextConfig:
    """The decoder's configuration from a text-only Qwen's `config.json`.

    Raises ValueError for a quantised model and for options that no Qwen has.
    """
    if "quantization_config" in released:
        raise ValueError("config.json: the weights are quantised; training starts from the full ones (Qwen-7B)")
    visual = {**_NO_VISUAL, "output_dim": released["hidden_size"], "image_start_id": 1}
    return QwenVLTextConfig(**native_config({**released, "visual": visual})["text_config"])


def read_qwen(folder: Path, released: dict[str, Any], dtype: torch.dtype | str) -> tuple[QwenVLTextModel, nn.Linear]:
    """Decoder and head of a released Qwen, read shard by shard into place.

    Raises ValueError, naming a tensor, when weights are missing.
    """
    config = text_config(released)
    tensors = {name: tensor for name, tensor in stored_tensors(folder).items() if not is_derived(name)}
    if dtype == "auto":
        dtype = config.dtype or next(iter(tensors.values())).dtype
    model, found = QwenForCausalLM.from_pretrained(
        None, config=config, state_dict=native_view(tensors, heads=1), dtype=dtype, output_loading_info=True
    )
    if found["missing_keys"]:
        raise ValueError(f"its weights lack {min(found['missing_keys'])}")
    decoder: QwenVLTextModel = model.model.language_model
    return decoder, model.lm_head
