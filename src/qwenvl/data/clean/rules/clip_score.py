"""CLIP score, with a bar for each data set (paper, appendix A.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qwenvl.data.clean.rule import Value
from qwenvl.data.clean.rules.bounded import Bounded, number
from qwenvl.data.clean.rules.script import language_of
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError


@dataclass(frozen=True)
class ClipScore(Bounded):
    """ "Removing pairs with a harsh CLIP score (dataset-specific)": the cosine of picture and caption, −1 to 1.

    The first of `columns` that a pair's metadata has is taken as it is. Where there is none, `model` scores: any CLIP
    that transformers loads (a folder or a name of the Hub), or "open_clip:ARCHITECTURE/WEIGHTS". `chinese_model` scores
    the Chinese captions, which an English CLIP does not read. Pairs that nothing scores stay. `batch` is how many pairs
    a model sees at once. Raises ConfigError where neither columns nor a model are given.
    """

    name: ClassVar[str] = "clip_score"
    too_low: ClassVar[str] = "low CLIP score"
    too_high: ClassVar[str] = "high CLIP score"
    bins: ClassVar[tuple[float, ...]] = tuple(step / 100 for step in range(-10, 61))

    columns: tuple[str, ...] = ()
    model: str | None = None
    chinese_model: str | None = None
    device: str = "auto"
    batch: int = 64

    def __post_init__(self) -> None:
        if not (self.columns or self.model or self.chinese_model):
            raise ConfigError("clip_score: give 'columns' (where a score is kept) or 'model' (a CLIP that scores)")
        if self.batch < 1:
            raise ConfigError(f"clip_score.batch: expected at least 1, found {self.batch}")

    def measure(self, pair: Pair) -> Value:
        found = self.measure_all([pair])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def measure_all(self, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
        scores: list[Value | Exception] = [self._column(pair) for pair in pairs]
        waiting: dict[str, list[int]] = {}
        for position, pair in enumerate(pairs):
            if scores[position] is None and pair.caption and (model := self._model(pair.caption)):
                waiting.setdefault(model, []).append(position)
        for model, positions in waiting.items():
            for begin in range(0, len(positions), self.batch):
                self._score(model, pairs, positions[begin : begin + self.batch], scores)
        return scores

    def _column(self, pair: Pair) -> float | None:
        return next((n for column in self.columns if (n := number(pair.meta.get(column))) is not None), None)

    def _model(self, caption: str) -> str | None:
        return self.chinese_model if self.chinese_model and language_of(caption) == "zh" else self.model

    def _score(
        self, model: str, pairs: Sequence[Pair], positions: Sequence[int], scores: list[Value | Exception]
    ) -> None:
        """Puts one batch's scores in their places; a picture that is broken gets its error, and costs no other."""
        from qwenvl.data.clean.clip import load_clip

        clip = load_clip(model, self.device)
        pictures, whole = [], []
        for position in positions:
            try:
                pictures.append(pairs[position].pixels)
                whole.append(position)
            except Exception as error:
                scores[position] = error
        captions = [pairs[position].caption or "" for position in whole]
        found = clip.similarity(pictures, captions) if whole else []
        for position, score in zip(whole, found, strict=True):
            # the fifth digit is the batch's and the machine's, not the pair's
            scores[position] = round(score, 4) if math.isfinite(score) else None
