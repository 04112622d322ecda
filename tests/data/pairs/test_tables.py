"""Parquet and Arrow: column names, Hugging Face's form, damage, and memory that does not grow with the file."""

from __future__ import annotations

import datetime
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from qwenvl.data.sources.pairs import BadPair, Columns, list_units, read_unit  # noqa: E402
from qwenvl.data.sources.report import DataError  # noqa: E402
from tests.data.pairs.conftest import Read, picture  # noqa: E402


def parquet(table: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def arrow(table: Any, stream: bool = True, rows: int = 2) -> bytes:
    buffer = io.BytesIO()
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(buffer, table.schema) as writer:
        writer.write_table(table, rows)
    return buffer.getvalue()


def crawled(count: int) -> Any:
    """What img2dataset writes as Parquet."""
    return pa.table(
        {
            "jpg": [picture(n) for n in range(count)],
            "caption": [f"caption {n}" for n in range(count)],
            "url": [f"https://example.com/{n}" for n in range(count)],
            "key": [f"{n:09d}" for n in range(count)],
            "status": ["success"] * count,
            "error_message": pa.array([None] * count, pa.string()),
        }
    )


def test_img2dataset(read: Read) -> None:
    table = crawled(5)
    pairs, bad = read(parquet(table, row_group_size=2), "a.parquet")
    assert not bad and [pair.id for pair in pairs] == [f"set/a/{n:09d}" for n in range(5)]
    assert pairs[3].caption == "caption 3" and pairs[3].image == picture(3)
    assert pairs[3].meta == {
        "url": "https://example.com/3", "key": "000000003", "status": "success", "error_message": None
    }  # fmt: skip


def test_hugging_face_rows_have_bytes_and_path(read: Read) -> None:
    images = [
        {"bytes": picture(0), "path": "train/a.jpg"},
        {"bytes": None, "path": "/home/them/b.jpg"},
        None,
        {"bytes": b"", "path": None},
    ]
    table = pa.table({"id": ["a", "b", "c", "d"], "image": images, "text": ["words", "x", "y", None]})
    for content, name in ((parquet(table), "a.parquet"), (arrow(table), "b.arrow"), (arrow(table, False), "c.arrow")):
        pairs, bad = read(content, name)
        assert [(p.id[6:], p.caption, p.name, p.meta) for p in pairs] == [("a", "words", "a.jpg", {"id": "a"})]
        assert [(b.id[6:], b.why) for b in bad] == [("b", "no picture"), ("c", "no picture"), ("d", "empty picture")]


def test_the_noted_image_feature_goes_first(read: Read) -> None:
    info = {"info": {"features": {"thumbnail": {"_type": "Value"}, "photo": {"_type": "Image"}}}}
    picture_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", pa.binary()), ("photo", picture_type), ("text", pa.large_string())],
        metadata={"huggingface": json.dumps(info)},
    )
    table = pa.table([[b"mask"], [{"bytes": picture(), "path": None}], ["words"]], schema=schema)
    [pair], _ = read(parquet(table), "a.parquet")
    assert pair.image == picture() and pair.caption == "words" and pair.meta == {} and pair.id == "set/a/0"


def test_lists_of_pictures_give_their_first(read: Read) -> None:
    images = [[{"bytes": picture(1), "path": "x.jpg"}, {"bytes": picture(2), "path": "y.jpg"}], [], None]
    pairs, bad = read(parquet(pa.table({"images": images, "caption": ["a", "b", "c"]})), "a.parquet")
    assert [p.image for p in pairs] == [picture(1)] and [b.why for b in bad] == ["no picture"] * 2


def test_columns_by_name(read: Read) -> None:
    table = crawled(2).append_column("blip", pa.array(["better", None]))
    pairs, _ = read(parquet(table), "a.parquet", Columns(image="jpg", caption="blip", key="url"))
    assert [pair.caption for pair in pairs] == ["better", None]
    assert pairs[0].id == "set/a/https://example.com/0"
    assert pairs[0].meta["caption"] == "caption 0"


@pytest.mark.parametrize("columns", [Columns(image="none"), Columns(caption="none"), Columns(url="none")])
def test_a_column_that_is_not_there(read: Read, columns: Columns) -> None:
    with pytest.raises(DataError, match=r"no column 'none' .* its columns are jpg, caption, url, key"):
        read(parquet(crawled(1)), "a.parquet", columns)


def test_addresses_without_pictures(read: Read) -> None:
    with pytest.raises(DataError, match=r"no column with pictures' bytes among url, caption; .*img2dataset"):
        read(parquet(crawled(1).select(["url", "caption"])), "a.parquet")
    with pytest.raises(DataError, match="'url' is string; "):
        read(parquet(crawled(1)), "b.parquet", Columns(image="url"))


def test_failed_downloads_say_why(read: Read) -> None:
    table = pa.table(
        {
            "jpg": pa.array([picture(), None, None], pa.binary()),
            "caption": ["a", "b", "c"],
            "status": ["success", "failed_to_download", "success"],
            "error_message": [None, "HTTP Error 404: Not Found", None],
        }
    )
    pairs, bad = read(parquet(table), "a.parquet")
    assert len(pairs) == 1
    assert [(b.why, b.detail) for b in bad] == [
        ("not downloaded", "HTTP Error 404: Not Found"),
        ("no picture", "there is no picture in this row"),
    ]


def test_null_captions_repeated_keys_and_odd_values(read: Read) -> None:
    when = datetime.datetime(2023, 8, 24, 12, 0)
    table = pa.table(
        {
            "jpg": [picture()] * 3,
            "caption": ["a", None, "c"],
            "key": ["k", "k", "k"],
            "similarity": [0.25, float("nan"), float("-inf")],
            "when": [when] * 3,
            "price": [Decimal("1.50")] * 3,
            "hash": [b"\1\2"] * 3,
            "size": pa.array([{"w": 1, "at": when}] * 3),
            "tags": [["x", None]] * 3,
        }
    )
    pairs, bad = read(parquet(table), "a.parquet", Columns(image="jpg"))
    assert not bad and [pair.id for pair in pairs] == ["set/a/k", "set/a/k#2", "set/a/k#3"]
    assert [pair.caption for pair in pairs] == ["a", None, "c"]
    assert [pair.meta["similarity"] for pair in pairs] == [0.25, None, None]
    assert "hash" not in pairs[0].meta and pairs[0].meta["price"] == "1.50" and pairs[0].meta["tags"] == ["x", None]
    json.dumps([dict(pair.meta) for pair in pairs], allow_nan=False)


def test_words_that_are_not_utf8(read: Read) -> None:
    words = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    table = pa.table({"jpg": [picture()] * 3, "caption": words.view(pa.string()), "site": words.view(pa.string())})
    also = pa.table({"jpg": [picture()] * 3, "caption": words, "site": words.view(pa.string())})
    contents = ((parquet(table), "a.parquet"), (arrow(table), "a.arrow"), (parquet(also), "b.parquet"))
    for content, name in contents:
        pairs, bad = read(content, name, Columns(image="jpg"))
        assert [(p.caption, p.meta["site"]) for p in pairs] == [("fine", "fine"), (None, None)]
        assert [(b.why, b.id[6:]) for b in bad] == [("not UTF-8", "1")]


def test_truncated_parquet(read: Read, tmp_path: Path) -> None:
    content = parquet(crawled(20))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.parquet").write_bytes(content[:-100])
    (tmp_path / "set" / "1.parquet").write_bytes(parquet(crawled(25)))
    (tmp_path / "set" / "2.parquet").write_bytes(b"")
    pairs, bad = read(tmp_path / "set")
    assert len(pairs) == 25  # of the first one nothing tells how many rows a group of it has
    assert [(b.id, b.why) for b in bad] == [("set/0/(rest)", "truncated shard"), ("set/2/(rest)", "truncated shard")]
    assert f"{len(content) - 100:,} bytes" in bad[0].detail


def end_of(column: Any) -> int:
    """The byte after a column of a row group."""
    return (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size


HUGGING_FACE = {
    "image": [{"bytes": picture(n) + bytes([n]) * 900, "path": f"{n}.jpg"} for n in range(50)],
    "text": [f"caption {n}" if n % 7 else None for n in range(50)],
    "score": [n / 3 for n in range(50)],
    "flag": [n % 2 == 0 for n in range(50)],
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "write_page_checksum": True, "write_page_index": True},
        {"data_page_version": "2.0", "data_page_size": 2000, "write_batch_size": 3},
        {"version": "1.0", "column_encoding": "PLAIN", "use_dictionary": False, "store_schema": False},
    ],
)
@pytest.mark.parametrize("data", [HUGGING_FACE, None])
def test_whole_row_groups_of_a_truncated_file_are_read(
    read: Read, tmp_path: Path, options: dict[str, Any], data: dict[str, Any] | None
) -> None:
    """The other shard of the folder has another number of groups, and other words in them."""
    table = pa.table(data) if data else crawled(50)
    (tmp_path / "set").mkdir()
    content = parquet(table, row_group_size=10, **options)
    (tmp_path / "set" / "1.parquet").write_bytes(parquet(table.slice(7, 33), row_group_size=10, **options))
    meta = pq.ParquetFile(io.BytesIO(content)).metadata
    ends = [max(map(end_of, map(meta.row_group(group).column, range(meta.num_columns)))) for group in range(5)]
    whole, _ = read(content, "0.parquet")
    assert len(whole) == 50
    for cut in (*ends, *(end - 1 for end in ends), *range(100, len(content), 1777), len(content) - 1):
        (tmp_path / "set" / "0.parquet").write_bytes(content[:cut])
        pairs, bad = read(tmp_path / "set" / "0.parquet")
        groups = sum(end <= cut for end in ends)
        assert [(p.id, p.image, p.caption, p.meta) for p in pairs] == [
            (p.id, p.image, p.caption, p.meta) for p in whole[: 10 * groups]
        ]
        assert [(b.id, b.why) for b in bad] == [("set/0/(rest)", "truncated shard")]
        if groups:
            assert f"after {10 * groups} rows in {groups} whole row groups, " in bad[0].detail


@pytest.mark.parametrize("rows", [5, 7, 20, 30])
def test_a_layout_that_does_not_fit_gives_nothing_wrong(read: Read, tmp_path: Path, rows: int) -> None:
    (tmp_path / "set").mkdir()
    content = parquet(crawled(60), row_group_size=rows, use_dictionary=False)
    (tmp_path / "set" / "0.parquet").write_bytes(content[:-100])
    (tmp_path / "set" / "1.parquet").write_bytes(parquet(crawled(30), row_group_size=10))
    pairs, bad = read(tmp_path / "set" / "0.parquet")
    assert not pairs and [b.why for b in bad] == ["truncated shard"]


def test_random_damage_before_a_cut_never_raises(read: Read, tmp_path: Path) -> None:
    import random

    chance = random.Random(0)
    (tmp_path / "set").mkdir()
    content = parquet(crawled(30), row_group_size=5)
    (tmp_path / "set" / "1.parquet").write_bytes(content)
    for _ in range(150):
        broken = bytearray(content[: chance.randrange(200, len(content))])
        for _ in range(4):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        assert read(bytes(broken), "0.parquet")[1]


def test_a_damaged_row_group_costs_its_rows(read: Read) -> None:
    content = bytearray(parquet(crawled(30), row_group_size=10, compression="none", write_page_checksum=True))
    content[content.index(picture(15)) + 50] ^= 0xFF
    pairs, bad = read(bytes(content), "a.parquet")
    assert [pair.meta["key"] for pair in pairs] == [f"{n:09d}" for n in (*range(10), *range(20, 30))]
    assert [(b.id, b.why) for b in bad] == [("set/a/(damage)", "damaged shard")]
    assert bad[0].detail.startswith("row group 1: 10 of 10 rows can not be read")


def test_random_damage_never_raises(read: Read) -> None:
    import random

    chance = random.Random(0)
    for whole, name in ((parquet(crawled(6), row_group_size=2), "a.parquet"), (arrow(crawled(6)), "a.arrow")):
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(3):
                content[chance.randrange(len(content))] = chance.randrange(256)
            try:
                pairs, bad = read(bytes(content), name)
            except DataError as error:  # the only shard's column names are hit
                assert "column" in str(error)
                continue
            assert len(pairs) + len(bad) > 0


def test_truncated_arrow(read: Read) -> None:
    content = arrow(crawled(6))
    counts = set()
    for cut in range(0, len(content) - 1, 97):
        pairs, bad = read(content[:cut], "a.arrow")
        counts.add(len(pairs))
        assert [b.why for b in bad] == ["truncated shard"] and bad[0].id == "set/a/(rest)"
        assert [pair.meta["key"] for pair in pairs] == [f"{n:09d}" for n in range(len(pairs))]
    assert counts == {0, 2, 4, 6}
    pairs, bad = read(content[:-8], "a.arrow")
    assert len(pairs) == 6 and "without its end mark" in bad[0].detail


def test_other_columns_in_a_later_shard_are_told(read: Read, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.parquet").write_bytes(parquet(crawled(2)))
    (tmp_path / "set" / "1.parquet").write_bytes(parquet(crawled(2).select(["url"])))
    pairs, bad = read(tmp_path / "set")
    assert len(pairs) == 2 and [(b.id, b.why) for b in bad] == [("set/1/(rest)", "other columns")]


def test_a_big_file_is_cut_between_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwenvl.data.sources.pairs import listing

    path = tmp_path / "set" / "a.parquet"
    path.parent.mkdir()
    path.write_bytes(parquet(crawled(40).drop_columns(["key"]), row_group_size=5))
    monkeypatch.setattr(listing, "PARQUET_PART", 7000)
    units = list_units(str(path))
    assert 2 < len(units) <= 8 and [unit.stem for unit in units] == [f"a@{n}" for n in range(len(units))]
    found = [pair for unit in units for pair in read_unit(unit)]
    assert not any(isinstance(pair, BadPair) for pair in found) and len({pair.id for pair in found}) == 40
    assert [pair.caption for pair in found] == [f"caption {n}" for n in range(40)]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [True, False])
def test_memory_is_bounded_by_batches(tmp_path: Path, stream: bool) -> None:
    """40 MB of pictures in one row group or batch: a small part is held at a time."""
    import tracemalloc

    table = pa.table({"jpg": [n.to_bytes(2, "big") * 50_000 for n in range(400)], "caption": ["x"] * 400})
    path = tmp_path / ("a.arrow" if stream else "a.parquet")
    options = {"compression": "none", "use_dictionary": False, "write_batch_size": 16}  # pages of 1.6 MB
    path.write_bytes(arrow(table, rows=400) if stream else parquet(table, **options))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    most = 0
    for pair in read_unit(list_units(str(path))[0]):
        assert not isinstance(pair, BadPair)
        most = max(most, pa.total_allocated_bytes() - before)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 25e6 and python < 30e6
