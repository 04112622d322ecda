"""What harnesses need of a model: answers to texts with pictures, and the loss of a given answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qwenvl.data.images import load_image
from qwenvl.evaluate.rank import option_losses
from qwenvl.model.load import load
from qwenvl.sample import Image, Part, Sample, Text, Turn
from qwenvl.serve.engine import Generation, generate
from qwenvl.text.chatml import dialogue_sample
from qwenvl.text.render import Example, render_prompt

_AT_ONCE = 16
"""Batches whose pictures are held at once."""


class Answerer:
    """A checkpoint that answers, in chat or as a base model. `chat` false puts the words behind the pictures bare.

    `checkpoint` is what `qwenvl.model.load.load` takes. Raises its errors.
    """

    def __init__(
        self, checkpoint: str = "nano", device: str = "", dtype: str = "", chat: bool = True, batch_size: int = 8
    ) -> None:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.loaded = load(checkpoint, device, getattr(torch, dtype) if dtype else None)
        self.chat, self.batch_size = chat, batch_size

    def answers(self, questions: Sequence[Sequence[Part]], options: Generation) -> list[str]:
        """The answers to questions, each its pictures and texts in order; boxes keep their numbers, not their tags."""
        found: list[str] = []
        step = _AT_ONCE * self.batch_size
        for start in range(0, len(questions), step):
            prompts = [self._prompt(parts) for parts in questions[start : start + step]]
            ids = generate(self.loaded.model, self.loaded.tokenizer, prompts, options, self.batch_size)
            found += [self.loaded.tokenizer.decode(one, skip_special=True).strip() for one in ids]
        return found

    def loss(self, question: Sequence[Part], answer: str) -> float:
        """The mean loss (nats a token) of an answer to a question."""
        return option_losses(self.loaded.model, self.loaded.tokenizer, [self._prompt(question)], [[answer]])[0][0]

    def _prompt(self, parts: Sequence[Part]) -> Example:
        if self.chat:
            sample = dialogue_sample([Turn("user", tuple(parts))], reply=True)
        else:
            sample = Sample(tuple(parts), "vqa", "harness", "")
        return render_prompt(sample, self.loaded.tokenizer, self.loaded.model.config.num_queries)


def question_parts(text: str, images: Sequence[Any], mark: str = "<image>") -> tuple[Part, ...]:
    """A text with its pictures: each at its mark where there are as many marks, else all before the words."""
    loaded: list[Image] = [load_image(image, paths=True) for image in images]
    pieces = text.split(mark)
    if len(pieces) - 1 != len(loaded):
        return (*loaded, *_words(" ".join(piece.strip() for piece in pieces)))
    parts: list[Part] = [*_words(pieces[0])]
    for image, piece in zip(loaded, pieces[1:], strict=True):
        parts += [image, *_words(piece)]
    return tuple(parts)


def _words(text: str) -> tuple[Part, ...]:
    return (Text(text),) if text else ()
