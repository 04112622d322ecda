"""What a corpus chose of a record for a task: only that becomes samples."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qwenvl.data.record_json import record_from_json, record_to_json
from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import Record, Task
from qwenvl.tasks import TASKS
from qwenvl.tasks.offered import FIELDS, OFFERED, offered, suitable


@pytest.fixture(scope="module")
def record() -> Record:
    return scene_record(0, 6, "train", 96)


@pytest.mark.parametrize("task", list(TASKS))
def test_suitable_are_those_that_make_samples(record: Record, task: Task) -> None:
    found = suitable(record, task)
    samples = TASKS[task](record, random.Random(0))
    if task == "ocr":
        assert len(found) == len(record.lines) and bool(samples) == bool(found)
    else:
        assert len(found) == len(samples) > 0
    assert not suitable(Record("x", "y"), task)


def test_only_what_was_chosen_becomes_samples(record: Record) -> None:
    chosen = replace(record, meta={OFFERED: {"vqa": [1, 4], "grounding": [0]}})
    found, pictures = record_to_json(chosen)
    stored = record_from_json(chosen.id, chosen.source, found, [b""] * len(pictures))
    for one in (chosen, stored):
        counts = {task: len(make(one, random.Random(0))) for task, make in TASKS.items()}
        assert {task: count for task, count in counts.items() if count} == {"vqa": 2, "grounding": 1}
        assert offered(one, "vqa").qas == (record.qas[1], record.qas[4])


def test_every_task_has_its_list(record: Record) -> None:
    assert FIELDS.keys() == TASKS.keys()
    assert offered(record, "vqa") is record
