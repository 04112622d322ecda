"""A model for VLMEvalKit, which has no plug-ins: `register` adds it to its table before its `run.py` begins.

from qwenvl.evaluate.adapters.vlmevalkit import register
register("qwenvl-mine", "runs/quickstart/model")
import runpy; runpy.run_path("run.py", run_name="__main__")  # with --model qwenvl-mine
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from qwenvl.data.images import load_image
from qwenvl.evaluate.adapters.answerer import Answerer
from qwenvl.sample import Part, Text
from qwenvl.serve.engine import Generation


def register(name: str, checkpoint: str = "nano", **options: Any) -> None:
    """Add a checkpoint to VLMEvalKit's models as `name`; `options` are those of `Answerer`, and `max_new_tokens`.

    Raises ImportError without VLMEvalKit.
    """
    from vlmeval.config import supported_VLM

    supported_VLM[name] = partial(model_class(), checkpoint, **options)


def model_class() -> Any:
    """The class, made of VLMEvalKit's base. Raises ImportError without it."""
    from vlmeval.vlm.base import BaseModel

    class QwenVL(BaseModel):  # type: ignore[misc]
        """Answers a message of texts and pictures in their order."""

        INSTALL_REQ = False
        INTERLEAVE = True

        def __init__(self, checkpoint: str = "nano", max_new_tokens: int = 512, **options: Any) -> None:
            super().__init__()
            self._answerer = Answerer(checkpoint, **options)
            self._generation = Generation(max_new_tokens=max_new_tokens)

        def generate_inner(self, message: Sequence[Mapping[str, str]], dataset: str | None = None) -> str:
            return self._answerer.answers([message_parts(message)], self._generation)[0]

    return QwenVL


def message_parts(message: Sequence[Mapping[str, str]]) -> tuple[Part, ...]:
    """VLMEvalKit's message, `{"type": "image" or "text", "value"}` in order, as parts. Raises ValueError for others."""
    parts: list[Part] = []
    for piece in message:
        if piece["type"] not in ("image", "text"):
            raise ValueError(f"qwenvl takes texts and pictures, not {piece['type']!r}")
        parts.append(load_image(piece["value"], paths=True) if piece["type"] == "image" else Text(piece["value"]))
    return tuple(parts)
