"""Mixtures: every record once an epoch, far-apart ones near each other, shares kept, few blocks in memory."""

from __future__ import annotations

import itertools
import json
import pickle
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.data.mixture import SPREAD, MemoryShards, Mixture, Order, Part
from qwenvl.data.shard_writer import write_shards
from qwenvl.data.shards import ShardError, ShardReader
from qwenvl.sample import Record


class Blocks:
    """A source whose records are named by block and row, and which remembers what is read."""

    def __init__(self, rows: Sequence[int], size: int = 100) -> None:
        self.blocks = [(count, size) for count in rows]
        self.read: list[int] = []

    def read_block(self, index: int) -> list[Record]:
        self.read.append(index)
        return [Record(f"{index}.{row}", "test") for row in range(self.blocks[index][0])]


def ids(order: Order, begin: int, end: int) -> list[str]:
    return [order.record(position).id for position in range(begin, end)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any), st.integers(1, 3000))
def test_an_epoch_has_every_record_once(rows: list[int], memory: int) -> None:
    order = Order(Blocks(rows), "seed", memory)
    expected = Counter(f"{block}.{row}" for block, count in enumerate(rows) for row in range(count))
    total = sum(rows)
    assert len(order) == total
    for epoch in range(2):
        assert Counter(ids(order, epoch * total, (epoch + 1) * total)) == expected


def test_epochs_and_seeds_differ_and_any_position_can_be_asked_for() -> None:
    order = Order(Blocks([30] * 40), "seed")
    first = ids(order, 0, 1200)
    assert first != ids(order, 1200, 2400) and first != ids(Order(Blocks([30] * 40), "other"), 0, 1200)
    assert [Order(Blocks([30] * 40), "seed").record(p).id for p in (777, 3, 1199)] == [first[p] for p in (777, 3, 1199)]


def test_what_is_open_fits_the_memory_and_blocks_are_read_once() -> None:
    source = Blocks([30] * 40, size=100)
    order = Order(source, "seed", memory=950)
    assert order.spread == 8
    ids(order, 0, 1200)
    # those that an epoch begins in the middle of are read again at its end
    assert len(source.read) == 40 + 7 and set(source.read) == set(range(40))
    assert len(order._block._held) == 9
    assert Order(source, "seed", memory=1).spread == 1
    assert Order(source, "seed").spread == SPREAD


def test_far_apart_records_meet() -> None:
    order = Order(Blocks([100] * 64), "seed")
    blocks = [int(name.split(".")[0]) for name in ids(order, 0, 6400)]
    assert min(len(set(blocks[begin : begin + 100])) for begin in range(0, 6400, 100)) > 12
    # were all records shuffled at once, two neighbours would be of one block 1 time in 64; of 16 open ones, 1 in 16
    assert statistics.mean(a == b for a, b in itertools.pairwise(blocks)) < 0.08


def test_a_mixture_keeps_its_shares_at_every_point() -> None:
    weights = [19.7, 3.6, 0.1, 8.7, 0.0]
    mixture = Mixture([Part(Blocks([10]), weight) for weight in weights], "seed")
    counts = Counter()
    for drawn in range(1, 2000):
        counts[mixture.draw()[0]] += 1
        for part, weight in enumerate(weights):
            assert abs(counts[part] - drawn * weight / sum(weights)) < 2
    assert counts[4] == 0


def test_a_mixture_continues_from_its_positions() -> None:
    parts = [Part(Blocks([7, 5]), 1), Part(Blocks([9]), 2.5)]
    whole = Mixture(parts, "seed")
    drawn = [whole.draw() for _ in range(50)]
    half = Mixture(parts, "seed")
    for _ in range(20):
        half.draw()
    rest = Mixture(parts, "seed", half.positions)
    assert [rest.draw() for _ in range(30)] == drawn[20:]
    assert [rest.record(*place) for place in drawn] == [whole.record(*place) for place in drawn]
    assert pickle.loads(pickle.dumps(rest)).record(*drawn[0]) == whole.record(*drawn[0])


def test_what_can_not_be_mixed_is_said() -> None:
    good = Part(MemoryShards([Record("a", "s")]))
    for weights in ([-1.0], [0.0], [float("nan")]):
        with pytest.raises(ValueError, match="weights of a mixture"):
            Mixture([Part(good.source, weight) for weight in weights], "seed")
    with pytest.raises(ValueError, match="source number 1 of the mixture has no records"):
        Mixture([good, Part(Blocks([0]))], "seed")
    with pytest.raises(ValueError, match="saved state is of 1 sources, but the mixture has 2"):
        Mixture([good, good], "seed", [3])


def test_shards_are_read_by_row_group(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_shards([Record(str(number), "s") for number in range(700)], tmp_path, rows_per_shard=300)
    reader = ShardReader(tmp_path)
    assert [rows for rows, _ in reader.blocks] == [256, 44, 256, 44, 100]
    assert all(size > 0 for _, size in reader.blocks)
    assert [record.id for block in range(5) for record in reader.read_block(block)] == list(map(str, range(700)))
    # a manifest of an earlier version says nothing of row groups
    known = reader.blocks
    for shard in reader.manifest["shards"]:
        del shard["groups"]
    (tmp_path / "manifest.json").write_text(json.dumps(reader.manifest))
    assert ShardReader(tmp_path).blocks == known
    (tmp_path / "00001.parquet").unlink()
    with pytest.raises(ShardError, match=r"00001\.parquet: the shard is missing"):
        _ = ShardReader(tmp_path).blocks
    with pytest.raises(ShardError, match=r"00001\.parquet: the shard is missing"):
        reader.read_block(2)
