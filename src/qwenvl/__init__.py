"""qwenvl: the whole Qwen-VL system, from raw image–text pairs to chat with boxes. The public names are imported when
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwenvl.evaluate import evaluate_scenes
    from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration, QwenVLProcessor
    from qwenvl.model.load import load
    from qwenvl.sample import Box, Image, Quad, Record, Region, Sample, Text
    from qwenvl.serve import Chat
    from qwenvl.text.render import render
    from qwenvl.text.tokenizer import QwenTokenizer

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("Box", "Image", "Quad", "Record", "Region", "Sample", "Text"), "qwenvl.sample"),
    **dict.fromkeys(("QwenVLConfig", "QwenVLForConditionalGeneration", "QwenVLProcessor"), "qwenvl.model"),
    "Chat": "qwenvl.serve",
    "load": "qwenvl.model.load",
    "evaluate_scenes": "qwenvl.evaluate",
    "QwenTokenizer": "qwenvl.text.tokenizer",
    "render": "qwenvl.text.render",
}

__all__ = [
    "Box", "Chat", "Image", "Quad", "QwenTokenizer", "QwenVLConfig", "QwenVLForConditionalGeneration",
    "QwenVLProcessor", "Record", "Region", "Sample", "Text", "evaluate_scenes", "load", "render",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
