"""A whole evaluation: held-out records in, `metrics.json` and a table of scores out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwenvl.data.synth.scenes import Split
from qwenvl.evaluate.benchmarks import scenes
from qwenvl.evaluate.predict import Item, Prediction, items, predict
from qwenvl.evaluate.score import score
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Record, Task
from qwenvl.text.tokenizer import QwenTokenizer

BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: `scores` (see `qwenvl.evaluate.score`), every prediction, and how it was made."""

    scores: dict[str, dict[str, Any]]
    predictions: list[Prediction]
    settings: dict[str, Any]
    seconds: float

    def value(self, metric: str, group: str = "all") -> float | None:
        """One number, such as `value("vqa/accuracy", "unseen")`; None where nothing was measured."""
        entry = self.scores.get(metric, {}).get(group)
        return entry["value"] if entry else None

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`.

        `scores`: metric → group (all, seen, unseen, en, zh) → `value` in 0…1, `low` and `high` (95 % interval), `n`
        items; and `kinds` for questions. `items`: how many were asked, per task. `settings`: what was asked.
        `seconds`: how long it took.
        """
        counts: dict[str, int] = {}
        for prediction in self.predictions:
            counts[prediction.item.task] = counts.get(prediction.item.task, 0) + 1
        return {"scores": self.scores, "items": counts, "settings": self.settings, "seconds": round(self.seconds, 2)}

    def write(self, path: Path) -> None:
        """Write `metrics.json`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def evaluate(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    records: Iterable[Record],
    batch_size: int = BATCH,
    per_record: Mapping[Task, int] = scenes.PER_SCENE,
    seed: int = 0,
    quiet: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Ask the model about the records, greedily and in batches, and score its answers.

    `records` may be any; attribute metrics need those of the nano world. Raises ValueError when they give nothing to
    ask.
    """
    started = time.perf_counter()
    length = int(model.config.text_config.seq_length)
    wanted = items(records, tokenizer, int(model.config.num_queries), per_record, seed, length)
    if not wanted:
        raise ValueError(f"nothing to evaluate: the records give no sample for the tasks {', '.join(per_record)}")
    predictions = _with_bar(model, tokenizer, wanted, batch_size, quiet)
    return Evaluation(score(predictions), predictions, dict(settings or {}), time.perf_counter() - started)


def evaluate_scenes(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    count: int = 400,
    split: Split = "test",
    seed: int = 0,
    size: int = 96,
    batch_size: int = BATCH,
    quiet: bool = False,
) -> Evaluation:
    """`evaluate` on the first `count` held-out scenes of the nano world."""
    settings = {"benchmark": "scenes", "split": split, "scenes": count, "seed": seed, "size": size}
    records = scenes.records(count, seed, split, size)
    return evaluate(model, tokenizer, records, batch_size, seed=seed, quiet=quiet, settings=settings)


def table(scores: Mapping[str, Mapping[str, Any]], goals: Mapping[str, float] = scenes.GOALS) -> str:
    """The scores as a text table: value with its interval, seen and unseen combinations, languages, and the goal
    beside.

    A goal that is missed is marked with ✗, and so is an unseen score more than 15 points below the seen one.
    """
    header = ("", "score", "95 %", "goal", "", "seen", "unseen", "", "en", "zh", "items")
    rows: list[Sequence[str]] = [header]
    for metric, entry in scores.items():
        whole = entry["all"]
        goal = goals.get(metric)
        seen, unseen = _value(entry, "seen"), _value(entry, "unseen")
        wide = goal is not None and seen is not None and unseen is not None and seen - unseen > scenes.GAP
        rows.append((
            metric,
            _percent(whole["value"]),
            f"{_percent(whole['low'])}–{_percent(whole['high'])}",
            _percent(goal),
            "" if goal is None else "✓" if (whole["value"] or 0) >= goal else "✗",
            _percent(seen),
            _percent(unseen),
            "✗" if wide else "",
            _percent(_value(entry, "en")),
            _percent(_value(entry, "zh")),
            str(whole["n"]),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join((lines[0], "─" * max(map(len, lines)), *lines[1:]))


def _value(entry: Mapping[str, Any], group: str) -> float | None:
    return entry[group]["value"] if group in entry else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _with_bar(
    model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, wanted: list[Item], batch_size: int, quiet: bool
) -> list[Prediction]:
    with tqdm(total=len(wanted), desc="evaluate", unit="item", disable=quiet, dynamic_ncols=True) as bar:

        def advance(task: str, done: int) -> None:
            bar.set_postfix_str(task)
            bar.update(done)

        return predict(model, tokenizer, wanted, batch_size, advance)
