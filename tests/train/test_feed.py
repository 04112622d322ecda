"""Feeding: the same batches with any number of workers and ranks, and from any step on."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from qwenvl.data.loader import Batch, Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.data.shards import ShardReader
from qwenvl.sample import QA, Caption, Image, Record
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.feed import Feed
from qwenvl.train.parallel import Ranks
from qwenvl.train.run import settings_of, train
from qwenvl.typed import to_dict
from tests.train.helpers import tiny

ARRAYS = ("ids", "labels", "positions", "segments", "branches", "pixels", "image_index")


def _record(number: int) -> Record:
    file = io.BytesIO()
    PILImage.new("RGB", (12, 10), (number % 256, 255 - number % 256, 9)).save(file, "PNG")
    image = Image(file.getvalue(), 12, 10, f"{number}.png")
    qas = tuple(QA(f"what is {number}?", "a" * (number % 7)) for _ in range(number % 3))
    return Record(
        f"r{number}", "test", (image,), (Caption(f"picture {number} " * (20 if number == 7 else 1 + number % 3)),), qas
    )


SOURCES = [MemoryShards([_record(n) for n in range(0, 60)]), MemoryShards([_record(n) for n in range(60, 90)])]
PARTS = [Part(SOURCES[0], 2.0), Part(SOURCES[1], 1.0, {"caption": Share(1.0, 1)})]


@pytest.fixture(scope="module")
def tokenizer() -> QwenTokenizer:
    return QwenTokenizer.train_small([], 256)


def batches(tokenizer: QwenTokenizer, state: Any = None, rank: int = 0, world: int = 1) -> Batches:
    tasks = {"caption": Share(0.7, 1), "vqa": Share(0.8, 2)}
    settings = Settings(tasks, 16, 4, 160, 6, 5, buffer=8, rank=rank, world=world)  # type: ignore[arg-type]
    return Batches(PARTS, tokenizer, settings, state and json.loads(json.dumps(state)), PixelCache())


def same(expected: list[Batch], found: list[Batch]) -> None:
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)
        assert (one.tasks, one.samples, one.supervised, one.runs) == (
            other.tasks, other.samples, other.supervised, other.runs
        )  # fmt: skip
        assert json.dumps(one.state) == json.dumps(other.state)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(tokenizer: QwenTokenizer, workers: int) -> None:
    expected = list(Feed(batches(tokenizer), 15))
    before = torch.random.get_rng_state()
    feed = Feed(batches(tokenizer), 15, workers)
    assert torch.equal(before, torch.random.get_rng_state())
    found = list(feed)
    same(expected, found)
    same(expected[3:], list(Feed(batches(tokenizer, found[2].state), 12, workers)))
    assert feed.dropped == expected[-1].state["dropped"] and sum(feed.dropped.values()) > 0


def rows(batch: Batch) -> list[list[int]]:
    return [row[used > 0].tolist() for row, used in zip(batch.ids, batch.segments, strict=True)]


def test_another_number_of_ranks_continues_without_loss(tokenizer: QwenTokenizer) -> None:
    expected = list(Feed(batches(tokenizer), 6))
    state = None
    for first, world in ((0, 2), (2, 3), (4, 1)):
        ranks = [list(Feed(batches(tokenizer, state, rank, world), 2)) for rank in range(world)]
        for number in range(2):
            parts = [rank[number] for rank in ranks]
            whole = expected[first + number]
            assert Counter(map(str, rows(whole))) == Counter(str(row) for part in parts for row in rows(part))
            assert sum(part.samples for part in parts) == whole.samples
            # what the loss is divided by, and where to go on, are the same on every rank
            for part in parts:
                assert (part.supervised, part.runs, part.state) == (whole.supervised, whole.runs, whole.state)
            supervised = sum(int((part.labels != -100).sum()) for part in parts)
            assert supervised == whole.supervised and sum(len(part.image_index) for part in parts) == whole.runs
        state = ranks[-1][-1].state


def test_an_epoch_has_every_sample_once_over_changes_of_workers_and_ranks(tokenizer: QwenTokenizer) -> None:
    """Draw by draw: the names of rows given and of what waits are all draws so far, each once."""
    seen: Counter[tuple[str, int, int]] = Counter()
    state = None
    for world in (1, 2, 3):
        stream = batches(tokenizer, state, 0, world)
        planned = stream._planned()
        for _ in range(3):
            for groups in next(planned):
                seen.update((group.task, group.draw, index) for group in groups for index in group.indices)
        state = stream.state()
    waiting = Counter(
        (task, draw, index)
        for task, draw, indices in [
            *((task, *name) for task, names in state["waiting"].items() for name in names),
            *((task, *name) for task, names in state["ready"] for name in names),
        ]
        for index in indices
    )
    everything = seen + waiting
    stream = batches(tokenizer)
    expected: Counter[tuple[str, int, int]] = Counter()
    while stream._next < state["next"]:
        stream._draw()
    for number in range(state["next"]):
        for task, examples in stream._make(number).items():
            fits = [index for index, example in enumerate(examples) if len(example.ids) <= 160]
            expected.update((task, number, index) for index in fits)
    assert everything == expected and max(expected.values()) == 1


def test_a_rank_without_a_picture_gets_none(tokenizer: QwenTokenizer) -> None:
    records = [Record(f"t{n}", "test", texts=(f"only words {n}",)) for n in range(30)]
    tasks = {"text": Share(1.0, 1)}
    settings = Settings(tasks, 16, 4, 64, 2, 5, buffer=4, rank=1, world=2)  # type: ignore[arg-type]
    [batch] = Feed(Batches([Part(MemoryShards(records))], tokenizer, settings), 1, workers=1)
    assert batch.pixels.shape == (0, 16, 16, 3) and not len(batch.image_index) and batch.runs == 0


def test_what_a_worker_can_not_read_is_raised_here(tokenizer: QwenTokenizer) -> None:
    settings = Settings({"text": Share(1.0, 1)}, 16, 4, 64, 2, 5)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="gave no sample for the tasks text"):
        list(Feed(Batches(PARTS[:1], tokenizer, settings), 1, workers=1))


@pytest.mark.slow
def test_ranks_without_a_picture_train_as_one_does(tmp_path: Path) -> None:
    tasks: dict[str, object] = {"caption": {}, "text": {}}
    stage = to_dict(tiny().stages[0]) | {"tasks": tasks, "rows": 2, "steps": 3}
    losses = []
    for world in (1, 2):
        recipe = tiny(ranks=world, stages=[stage], log_every=1)
        train(recipe, tmp_path / str(world), quiet=True)
        lines = (tmp_path / str(world) / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    corpus, words = ShardReader(tmp_path / "1" / "corpus"), QwenTokenizer.load(tmp_path / "1" / "tokenizer")
    pictures = []
    for rank in range(2):
        settings = settings_of(recipe.stages[0], 0, recipe.seed, 4, Ranks(rank, 2))
        pictures.append([len(batch.pixels) for batch in Feed(Batches([Part(corpus)], words, settings), 3)])
    # the recipe's point: in some step one rank has pictures and the other has none
    assert any((one == 0) != (other == 0) for one, other in zip(*pictures, strict=True))
