"""What training will see of a source: the first samples of its records, or the rows they are packed into."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qwenvl.data.pack import Packer, Row
from qwenvl.sample import Record, Sample, Task
from qwenvl.tasks import TASKS
from qwenvl.text.render import Example, render, texts_of
from qwenvl.text.tokenizer import QwenTokenizer

RELEASED_SLOTS = 256
"""Slots of a picture in the released model, taken where no model is named."""


def samples_of(records: Iterable[Record], tasks: Sequence[Task], count: int, seed: int = 0) -> list[Sample]:
    """The first `count` samples of `tasks`, as evenly over the tasks as the records allow: one of each task in turn.

    As in training a record gives a task several samples; here `seed` chooses which.
    """
    waiting: dict[Task, list[Sample]] = {task: [] for task in tasks}
    for record in records:
        rng = random.Random(f"{seed}/{record.id}")
        for task, found in waiting.items():
            made = TASKS[task](record, rng)
            found += rng.sample(made, min(2, len(made)))
        if min(map(len, waiting.values())) * len(waiting) >= count:
            break
    chosen: list[Sample] = []
    turn = 0
    while len(chosen) < count and any(len(found) > turn for found in waiting.values()):
        chosen += [found[turn] for found in waiting.values() if len(found) > turn]
        turn += 1
    return chosen[:count]


def packed_rows(
    records: Iterable[Record],
    tasks: Sequence[Task],
    tokenizer: QwenTokenizer,
    slots_per_image: int,
    length: int,
    count: int,
    seed: int = 0,
) -> tuple[list[Example], dict[str, int | float]]:
    """The first `count` rows of `length` tokens that the packer of training makes, as Examples, and what was counted.

    Samples too long for a row are dropped and counted, as in training.
    """
    packer = Packer(length, buffer=16)
    rows: list[Row] = []
    for number, record in enumerate(records):
        rng = random.Random(f"{seed}/{record.id}")
        for task in tasks:
            made = [render(sample, tokenizer, slots_per_image) for sample in TASKS[task](record, rng)]
            rows += packer.add(made, number)
        if len(rows) >= count:
            break
    if len(rows) < count:
        rows += packer.flush()
    rows = rows[:count]
    used = sum(len(row.ids) for row in rows)
    counts: dict[str, int | float] = {
        "rows": len(rows),
        "samples": sum(row.samples for row in rows),
        "padding %": round(100 * (1 - used / max(1, length * len(rows))), 2),
    }
    counts |= {f"dropped, {reason}": times for reason, times in packer.dropped.items()}
    shown = [
        Example(row.ids, row.labels, row.slots, row.task, f"row {i}", f"{row.samples} samples")
        for i, row in enumerate(rows, start=1)
    ]
    return shown, counts


def tokenizer_for(model: Path | None, samples: Iterable[Sample]) -> tuple[QwenTokenizer, int, str]:
    """The tokenizer and slots per picture of a checkpoint folder, and where they are from, in words.

    Without a folder a small tokenizer is trained on the samples themselves, so that anything can be looked at without a
    model: the words and their supervision are those of training, where words are cut into tokens is not.
    """
    if model is not None:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        return QwenTokenizer.load(model), int(config.get("num_queries", RELEASED_SLOTS)), f"tokens of {model}"
    tokenizer = QwenTokenizer.train_small(_texts(samples), 1000)
    return tokenizer, RELEASED_SLOTS, "tokens of a tokenizer trained on these samples; --model DIR shows a model's own"


def _texts(samples: Iterable[Sample]) -> Iterator[str]:
    for sample in samples:
        yield from texts_of(sample)
