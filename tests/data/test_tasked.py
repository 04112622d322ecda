"""A built corpus as a mixture: tasks are drawn by weight, from the records that have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qwenvl.data.mixture import Mixture, Share
from qwenvl.data.shard_writer import ROWS_PER_GROUP, ShardWriter, merge_manifest
from qwenvl.data.shards import ShardError, ShardReader
from qwenvl.data.tasked import parts_of
from qwenvl.sample import Caption, Record, Task

pytest.importorskip("pyarrow")

ROWS = 700
OCR = {3, 300, 699}
WEIGHTS: dict[str, Any] = {
    "caption": {"records": ROWS, "weight": 19.7},
    "ocr": {"records": len(OCR), "weight": 24.8},
    "vqa": {"records": 0, "weight": 3.6},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    """700 records in two shards, all with a caption, three with text in them."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, rows in enumerate((range(0, 400), range(400, ROWS))):
        with ShardWriter(folder / f"{number:05d}.parquet", {"n_caption": "int32", "n_ocr": "int32"}) as writer:
            for begin in range(rows.start, rows.stop, ROWS_PER_GROUP):
                some = range(begin, min(rows.stop, begin + ROWS_PER_GROUP))
                records = [Record(str(row), "s", captions=(Caption("x"),)) for row in some]
                writer.add(records, n_caption=[1] * len(some), n_ocr=[2 * (row in OCR) for row in some])
    merge_manifest(folder, {"tasks": WEIGHTS})
    return ShardReader(folder)


def tasks(**shares: float) -> dict[Task, Share]:
    return {task: Share(share, 2) for task, share in shares.items()}  # type: ignore[misc]


def test_tasks_are_drawn_by_the_corpus_weights_from_the_records_that_have_them(corpus: ShardReader) -> None:
    parts = parts_of(corpus, tasks(caption=1.0, ocr=1.0, vqa=1.0))
    assert [part.tasks for part in parts] == [{"caption": Share(1.0, 2)}, {"ocr": Share(1.0, 2)}]
    mixture = Mixture(parts, "seed")
    drawn = [mixture.draw() for _ in range(445)]
    assert Counter(part for part, _ in drawn) == {0: 197, 1: 248}
    found = Counter(mixture.record(*place).id for place in drawn if place[0] == 1)
    assert found.keys() == {str(row) for row in OCR} and set(found.values()) <= {82, 83}
    # an epoch of captions has every record once
    assert sorted(mixture.record(0, position).id for position in range(ROWS)) == sorted(map(str, range(ROWS)))


def test_a_recipe_with_shares_decides_itself(corpus: ShardReader) -> None:
    parts = parts_of(corpus, tasks(caption=0.5, ocr=1.0))
    assert [part.weight for part in parts] == [0.5, 1.0]
    assert [part.tasks for part in parts] == [{"caption": Share(1.0, 2)}, {"ocr": Share(1.0, 2)}]


def test_a_corpus_that_says_nothing_is_one_part(corpus: ShardReader) -> None:
    plain = ShardReader(corpus.folder)
    plain.manifest["meta"] = {}
    [part] = parts_of(plain, tasks(caption=0.5))
    assert part.source is plain and part.tasks is None


def test_a_missing_column_and_a_damaged_row_are_named(corpus: ShardReader, tmp_path: Path) -> None:
    corrupt = ShardReader(corpus.folder)
    corrupt.manifest["meta"] = {"tasks": {"text": {"records": 5, "weight": 1.0}}}
    with pytest.raises(ShardError, match=r"00000\.parquet: has no column n_text"):
        parts_of(corrupt, tasks(text=1.0))
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(corpus.folder / "00001.parquet")
    column = table.column("record").to_pylist()
    column[299] = "{"
    at = table.column_names.index("record")
    broken = table.set_column(at, "record", pa.array(column, pa.string()))
    pq.write_table(broken, tmp_path / "00000.parquet", row_group_size=256)
    merge_manifest(tmp_path, {"tasks": WEIGHTS})
    part = parts_of(ShardReader(tmp_path), tasks(ocr=1.0))[0]
    with pytest.raises(ShardError, match=r"row 299 \(counted from 0\) is damaged"):
        list(part.source.read_block(1))
