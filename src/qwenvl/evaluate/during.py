"""An evaluation while a model trains: a few held-out records, scores for the log, and some answers drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch.distributed as dist

from qwenvl.config import EvaluationSpec
from qwenvl.data.sources import open_source
from qwenvl.evaluate.benchmarks import scenes
from qwenvl.evaluate.predict import Prediction
from qwenvl.evaluate.run import evaluate
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Record
from qwenvl.serve.draw import draw_answer
from qwenvl.text.tokenizer import QwenTokenizer

_SHOWN = ("grounding", "ocr", "referring")
"""Tasks whose answers point at something, the fullest first."""


@dataclass(frozen=True)
class During:
    """Evaluates as the recipe says; `size` is the side of its scenes in pixels. See `qwenvl.train.loop.Evaluate`.

    Scenes are those of the validation split: the test's stay unseen until the end.
    """

    spec: EvaluationSpec
    size: int = 96

    def __call__(
        self, model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, folder: Path
    ) -> dict[str, float]:
        """`eval/<metric>` of all that was asked. Drawn answers go to `folder`, as PNG."""
        found = evaluate(model, tokenizer, self._records(), quiet=True)
        if not dist.is_initialized() or dist.get_rank() == 0:
            draw(found.predictions, folder, self.spec.samples)
        values = {metric: found.value(metric) for metric in found.scores}
        return {f"eval/{metric}": value for metric, value in values.items() if value is not None}

    def _records(self) -> Iterable[Record]:
        if not self.spec.data:
            return scenes.records(self.spec.during, 0, "val", self.size)
        each = max(1, self.spec.during // len(self.spec.data))
        return (record for source in self.spec.data for record in islice(open_source(source), each))


def draw(predictions: Iterable[Prediction], folder: Path, count: int) -> None:
    """The first `count` answers that point at something in one picture, drawn as `folder/<n>-<task>.png`."""
    single = [one for one in predictions if len(one.item.sample.images) == 1]
    shown = [one for task in _SHOWN for one in single if one.item.task == task]
    for number, one in enumerate(shown[:count]):
        folder.mkdir(parents=True, exist_ok=True)
        places = [region for region in one.regions if region.boxes or region.quads]
        draw_answer(one.item.sample.images[0], places).save(folder / f"{number}-{one.item.task}.png")
