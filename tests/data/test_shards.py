"""Shards: what is written comes back, whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from qwenvl.data.record_json import record_to_json
from qwenvl.data.shard_writer import merge_manifest, write_shard, write_shards
from qwenvl.data.shards import ShardError, ShardReader
from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import QA, Image, Record, Special, Text, Turn

RECORDS = [scene_record(0, index, "train") for index in range(25)]


def read(folder: Path) -> list[Record]:
    reader = ShardReader(folder)
    return [record for number in range(len(reader.shards)) for record in reader.read_shard(number)]


def test_records_come_back_exactly(tmp_path: Path) -> None:
    write_shards(RECORDS, tmp_path, 10, {"seed": 0}, picture_format="PNG")
    reader = ShardReader(tmp_path)
    assert len(reader) == 25 and list(reader.shards) == [10, 10, 5] and reader.meta == {"seed": 0}
    reader.verify()
    for before, after in zip(RECORDS, read(tmp_path), strict=True):
        for field in ("id", "source", "captions", "qas", "phrases", "lines", "texts", "meta"):
            assert getattr(before, field) == getattr(after, field)
        assert record_to_json(before)[0] == record_to_json(after)[0]
        assert [i.pil().tobytes() for i in before.images] == [i.pil().tobytes() for i in after.images]
        assert [(i.width, i.height, i.name) for i in before.images] == [
            (i.width, i.height, i.name) for i in after.images
        ]
        shown = [part for turns in after.dialogues for turn in turns for part in turn.parts if isinstance(part, Image)]
        assert all(any(part is image for image in after.images) for part in shown)
        assert all(isinstance(image.source, bytes) for image in after.images)


def test_odd_records_come_back_too(tmp_path: Path) -> None:
    alone = Image(PILImage.new("RGB", (9, 9)), 9, 9, "only in the dialogue")
    talk = (Turn("user", (alone, Text("x"), Special("<t>"))),)
    records = [
        Record("a", "s"),
        Record("b", "s", texts=('quotes " \n and 中文 \u2028',), meta={"deep": {"list": [1, 2.5, None, True]}}),
        Record("c", "s", qas=(QA("q", "a", "zh", True),), dialogues=(talk,)),
    ]
    write_shards(records, tmp_path)
    after = read(tmp_path)
    assert after[0] == records[0] and after[1] == records[1] and after[2].qas == records[2].qas
    assert after[2].images == ()
    image = after[2].dialogues[0][0].parts[0]
    assert isinstance(image, Image) and image.name == alone.name and image.pil().size == (9, 9)


def test_other_readers_see_pictures(tmp_path: Path) -> None:
    write_shards(RECORDS[:3], tmp_path)
    table = pq.read_table(tmp_path / "00000.parquet")
    assert table.column_names == ["id", "source", "images", "record"]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == [{"_type": "Image"}]
    picture = table.column("images")[0].as_py()[0]
    assert set(picture) == {"bytes", "path"} and PILImage.open(io.BytesIO(picture["bytes"])).size == (96, 96)


def test_a_stopped_writer_leaves_no_manifest_and_no_half_files(tmp_path: Path) -> None:
    write_shards(RECORDS, tmp_path, 5)

    def broken() -> Iterator[Record]:
        yield from RECORDS[:7]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(broken(), tmp_path, 5)
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))
    with pytest.raises(ShardError, match="interrupted"):
        ShardReader(tmp_path)
    write_shards(RECORDS[:7], tmp_path, 5)
    assert len(read(tmp_path)) == 7 and len(list(tmp_path.glob("*.parquet"))) == 2


def test_shards_may_be_written_apart(tmp_path: Path) -> None:
    write_shard(RECORDS[5:8], tmp_path, 1)
    with pytest.raises(ShardError, match=r"00000\.parquet is missing"):
        merge_manifest(tmp_path)
    write_shard(RECORDS[:5], tmp_path, 0)
    merge_manifest(tmp_path, {"made": "apart"})
    assert [record.id for record in read(tmp_path)] == [record.id for record in RECORDS[:8]]


def test_the_same_records_make_the_same_digest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(RECORDS, tmp_path / name, 7)
    assert ShardReader(tmp_path / "a").manifest["digest"] == ShardReader(tmp_path / "b").manifest["digest"]


def test_damage_is_said(tmp_path: Path) -> None:
    write_shards(RECORDS, tmp_path, 10)
    shard = tmp_path / "00001.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    reader = ShardReader(tmp_path)
    for call in (lambda: reader.read_shard(1), reader.verify):
        with pytest.raises(ShardError, match=r"00001\.parquet"):
            call()
    shard.unlink()
    with pytest.raises(ShardError, match="missing"):
        reader.read_shard(1)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ShardError, match="format"):
        ShardReader(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ShardError, match="can not be read"):
        ShardReader(tmp_path)
    with pytest.raises(ValueError, match="at least one row"):
        write_shards(RECORDS, tmp_path, 0)


def test_a_shards_records_behave_like_a_list_of_whole_ones(tmp_path: Path) -> None:
    write_shards(RECORDS, tmp_path, 10)
    rows = ShardReader(tmp_path).read_shard(1)
    assert len(rows) == 10 and rows[-1].id == RECORDS[19].id and [r.id for r in rows[2:4]] == [rows[2].id, rows[3].id]
    with pytest.raises(IndexError):
        rows[10]
    record = rows[0]
    copy = pickle.loads(pickle.dumps(record))
    assert record_to_json(copy)[0] == record_to_json(record)[0] == record_to_json(RECORDS[10])[0]
    assert dataclasses.replace(record, id="other").phrases == RECORDS[10].phrases
    # what a dialogue shows is the very picture of the record, so that a pack encodes it once
    shown = [part for turns in record.dialogues for turn in turns for part in turn.parts if isinstance(part, Image)]
    assert shown and any(image is record.images[0] for image in shown)
    with pytest.raises(AttributeError, match="nonsense"):
        record.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    write_shards(RECORDS[:4], tmp_path, 4)
    path = tmp_path / "00000.parquet"
    table = pq.read_table(path)
    texts = table.column("record").to_pylist()
    short = '{"images": [], "pictures": [], "meta": {}, "qas": []}'
    for bad in ("{", "[]", "null", '{"images": [7], "pictures": [], "meta": {}}', short):
        column = pa.array([*texts[:2], bad, texts[3]])
        pq.write_table(table.set_column(table.schema.get_field_index("record"), "record", column), path)
        rows = ShardReader(tmp_path).read_shard(0)
        assert rows[1].id == RECORDS[1].id
        with pytest.raises(ShardError, match=r"00000\.parquet: row 2 .*make the corpus again"):
            rows[2]
