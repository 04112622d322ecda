"""Packing: nothing is cut, nothing is lost, rows are full, and shared pictures stand once."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.data.pack import LOOK, Packer, Row, fill, join, row_images
from qwenvl.sample import Image, Task
from qwenvl.text.render import Example, ImageSlot

SLOTS = 4
IMG, PAD, END = 900, 901, 902


def example(picture: int | None, words: int, task: Task = "vqa", first: int = 1) -> Example:
    """`<img>` slots `</img>` and then `words` ids, the last half of them supervised."""
    head = [IMG, *[PAD] * SLOTS, END] if picture is not None else []
    body = list(range(first, first + words))
    labels = [-100] * (len(head) + words // 2) + body[words // 2 :]
    slots = (ImageSlot(1, SLOTS, Image(str(picture).encode(), 8, 8)),) if picture is not None else ()
    return Example(head + body, labels, slots, task, "test", f"{picture}-{words}")


@given(st.integers(0, 60), st.lists(st.integers(1, 40), max_size=9))
def test_fill_leaves_the_least_space(space: int, lengths: list[int]) -> None:
    chosen = fill(space, lengths)
    sums = [sum(c) for n in range(len(lengths) + 1) for c in combinations(lengths, n)]
    assert len(set(chosen)) == len(chosen)
    assert sum(lengths[i] for i in chosen) == max(s for s in sums if s <= space)


def check(row: Row, length: int) -> None:
    """What must hold in every row."""
    count = len(row.ids)
    assert count <= length
    assert len(row.labels) == len(row.positions) == len(row.segments) == len(row.branches) == count
    for token, label in zip(row.ids, row.labels, strict=True):
        assert label in (-100, token)
    runs = [slot for slot in row.slots]
    for slot in runs:
        assert row.ids[slot.start - 1] == IMG and row.ids[slot.start + slot.length] == END
        assert row.ids[slot.start : slot.start + slot.length] == [PAD] * slot.length
    assert row.ids.count(PAD) == SLOTS * len(runs)


def test_rows_hold_whole_samples_of_one_task_and_lose_none() -> None:
    rng = random.Random(0)
    packer = Packer(96, buffer=32)
    rows, words = [], 0
    tasks: list[Task] = ["vqa", "ocr", "caption"]
    for draw in range(600):
        task = rng.choice(tasks)
        samples = [example(draw, rng.randint(4, 40), task) for _ in range(rng.randint(1, 4))]
        words += sum(len(sample.ids) - SLOTS - 2 for sample in samples)
        rows += packer.add(samples, draw)
    full = len(rows)
    rows += packer.flush()
    for row in rows:
        check(row, 96)
    used = sum(len(row.ids) for row in rows[:full])
    assert 1 - used / (96 * full) < 0.03
    assert sum(sum(1 for token in row.ids if token < IMG) for row in rows) == words
    assert not packer.dropped


def test_samples_of_one_picture_share_its_slots_and_start_right_behind_it() -> None:
    packer = Packer(64, buffer=1)
    (row,) = packer.add([example(0, 5), example(0, 7, first=50), example(0, 3, first=80)], 0)
    assert row.samples == 3 and len(row.slots) == 1 and len(row.ids) == SLOTS + 2 + 5 + 7 + 3
    assert row.branches == [0] * 6 + [1] * 5 + [2] * 7 + [3] * 3
    assert row.positions == [*range(6), *range(6, 11), *range(6, 13), *range(6, 9)]
    check(row, 64)


def test_other_pictures_are_not_shared() -> None:
    packer = Packer(64, buffer=2)
    (row,) = packer.add([example(0, 5), example(1, 5)], 0)
    assert len(row.slots) == 2 and set(row.segments) == {1, 2}
    pictures, index = row_images([row])
    assert len(pictures) == 2 and index == [0, 1]


def test_too_long_a_group_is_split_between_samples_and_too_long_a_sample_is_counted() -> None:
    packer = Packer(40, buffer=1)
    rows = packer.add([example(0, 20), example(0, 20), example(0, 60)], 0)
    assert [row.samples for row in rows] == [1, 1]
    assert all(len(row.slots) == 1 for row in rows)
    assert packer.dropped == {"vqa: longer than 40 tokens": 1}


def test_the_oldest_always_goes_in() -> None:
    packer = Packer(30, buffer=4)
    packer.add([example(None, 29, "text")], 0)
    for draw in range(1, 4):
        rows = packer.add([example(None, 10, "text")], draw)
    assert rows[0].groups == ((0, (0,)),)


@pytest.mark.parametrize("same", [True, False])
def test_a_picture_used_twice_is_encoded_once(same: bool) -> None:
    packer = Packer(40, buffer=1)
    rows = packer.add([example(0, 30)], 0) + packer.add([example(0 if same else 1, 30)], 1)
    pictures, index = row_images(rows)
    assert len(pictures) == (1 if same else 2)
    assert index == [0, 0 if same else 1]


def test_rows_of_log_normal_lengths_are_full_and_in_order_within_reason() -> None:
    rng = random.Random(0)
    packer = Packer(2048, buffer=1000)
    plans = []
    for draw in range(5000):
        plans += packer.plan([example(None, max(8, min(2048, round(rng.lognormvariate(5.3, 0.8)))), "text")], draw)
    used = sum(group.length for groups in plans for group in groups)
    assert used > 0.98 * 2048 * len(plans)
    for number, groups in enumerate(plans):
        draws = [group.draw for group in groups]
        # the oldest that waits is in the row, and no other is taken from further behind it than the packer looks
        taken = {group.draw for earlier in plans[:number] for group in earlier}
        assert draws[0] == next(draw for draw in range(5000) if draw not in taken)
        assert len([draw for draw in range(draws[0], max(draws)) if draw not in taken]) <= LOOK


def test_a_plan_counts_what_its_row_has() -> None:
    rng = random.Random(1)
    packer = Packer(96, buffer=6)
    seen = 0
    for draw in range(80):
        samples = [example(draw if rng.random() < 0.7 else None, rng.randint(4, 40)) for _ in range(rng.randint(1, 4))]
        for groups in packer.plan(samples, draw):
            row = join(groups)
            assert sum(group.length for group in groups) == len(row.ids)
            assert sum(group.supervised for group in groups) == sum(label != -100 for label in row.labels)
            assert sum(group.runs for group in groups) == len(row.slots)
            seen += 1
    assert seen > 20
