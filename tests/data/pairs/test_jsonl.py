"""JSON lines with a folder of pictures: broken lines, paths that lead out, and files cut into parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qwenvl.data.sources.pairs import BadPair, Columns, list_units, listing, read_unit
from qwenvl.data.sources.pairs import jsonl as reader
from tests.data.pairs.conftest import Read, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """set/ with a.jpg, sub/b.png and rows.jsonl to be written; beside it secret.jpg."""
    inside = tmp_path / "set"
    (inside / "sub").mkdir(parents=True)
    (inside / "a.jpg").write_bytes(picture(1))
    (inside / "sub" / "b.png").write_bytes(picture(2, format="PNG"))
    (tmp_path / "secret.jpg").write_bytes(picture(3))
    return inside


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


def test_rows(read: Read, folder: Path) -> None:
    rows = [
        {"image": "a.jpg", "caption": "one", "url": "https://e.org/1"},
        {"file_name": "sub/b.png", "text": "two", "id": "x7", "license": 4},
        {"image": "a.jpg", "caption": None},
        {"image": "sub/../a.jpg"},
    ]
    pairs, bad = read(write(folder, *rows))
    assert not bad and [pair.id for pair in pairs] == [f"set/rows/{key}" for key in ("1", "x7", "3", "4")]
    assert [pair.caption for pair in pairs] == ["one", "two", None, None]
    assert [pair.image for pair in pairs] == [picture(1), picture(2, format="PNG"), picture(1), picture(1)]
    assert pairs[0].meta == {"url": "https://e.org/1"} and pairs[1].meta == {"id": "x7", "license": 4}
    assert [pair.name for pair in pairs] == ["a.jpg", "b.png", "a.jpg", "a.jpg"]


def test_columns(read: Read, folder: Path) -> None:
    row = {"image": "wrong", "photo": "a.jpg", "alt": "words", "n": 5}
    [pair], _ = read(write(folder, row), columns=Columns(image="photo", caption="alt", key="n"))
    assert pair.caption == "words" and pair.id == "set/rows/5" and pair.image == picture(1)


def test_broken_lines_cost_themselves(read: Read, folder: Path) -> None:
    good = {"image": "a.jpg", "caption": "good"}
    rows = [b'{"image": "a.jpg"', b"", b"[]", b"\xff", b"null", good, {"image": 5}, {"caption": "x"}, {"image": ""}]
    path = write(folder, *rows, good)
    path.write_bytes(path.read_bytes() + b'{"image": "a.j')  # cut off
    pairs, bad = read(path)
    assert [pair.id for pair in pairs] == ["set/rows/6", "set/rows/10"]
    assert [(b.id[9:], b.why) for b in bad] == [
        ("1", "broken JSON"), ("3", "broken JSON"), ("4", "not UTF-8"), ("5", "broken JSON"),
        ("7", "no picture"), ("8", "no picture"), ("9", "no picture"), ("11", "broken JSON"),
    ]  # fmt: skip
    assert bad[1].detail.startswith("line at byte 19: expected an object")


def test_a_file_that_begins_with_a_byte_order_mark(read: Read, folder: Path) -> None:
    pairs, bad = read(write(folder, b'\xef\xbb\xbf{"image": "a.jpg"}', b'{"image": "a.jpg"}\r'))
    assert len(pairs) == 2 and not bad


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg", "sub/../../secret.jpg", "/etc/passwd", "/a.jpg", "https://example.com/a.jpg", "file:///etc/x",
        "C:\\a.jpg", "..\\secret.jpg", "link.jpg", "linked/secret.jpg", "linked/x/../../set/a.jpg", "a.jpg\0.png",
        "memory://a.jpg", "loop.jpg",
    ],
)  # fmt: skip
def test_no_path_leads_out(read: Read, folder: Path, name: str) -> None:
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    pairs, bad = read(write(folder, {"image": "a.jpg"}, {"image": name}, {"image": "sub/b.png"}, {"image": name}))
    assert len(pairs) == 2 and len(bad) == 2
    assert {b.why for b in bad} <= {"outside the folder", "no picture"}


def test_links_within_the_folder_are_fine(read: Read, folder: Path) -> None:
    (folder / "again.jpg").symlink_to("a.jpg")
    (folder / "other").symlink_to("sub")
    pairs, bad = read(write(folder, {"image": "again.jpg"}, {"image": "other/b.png"}))
    assert len(pairs) == 2 and not bad


def test_what_is_no_picture_file(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    with (folder / "big.jpg").open("wb") as file:
        file.truncate(10 << 30)
    names = ["pipe.jpg", "sub", "gone.jpg", "a.jpg/x", "empty.jpg", "big.jpg", "n" * 300 + ".jpg"]
    pairs, bad = read(write(folder, *({"image": name} for name in names), {"image": "a.jpg"}))
    assert len(pairs) == 1 and [b.why for b in bad] == [
        *["no picture"] * 4, "empty picture", "picture too large", "no picture"
    ]  # fmt: skip
    monkeypatch.setattr(reader, "_NO_LINK", 0)  # as where the system can not refuse links
    assert [b.why for b in read(folder / "rows.jsonl")[1]] == [b.why for b in bad]


def test_parts_are_the_whole(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a file is cut into units, each line comes once, under an id of its own."""
    rows = [
        {"image": "a.jpg", "caption": f"{n} " + "x" * (n * 7 % 60), **({"id": n % 5} if n % 3 else {})}
        for n in range(40)
    ]
    path = write(folder, *rows)
    for size in (1, 10, 57, 100, 333, 10_000):
        monkeypatch.setattr(listing, "JSONL_PART", size)
        units = list_units(str(path))
        found = [pair for unit in units for pair in read_unit(unit)]
        assert not any(isinstance(pair, BadPair) for pair in found)
        assert [pair.caption for pair in found] == [row["caption"] for row in rows]  # type: ignore[union-attr]
        assert len({pair.id for pair in found}) == 40 and len(units) == -(-path.stat().st_size // size)


def test_a_line_without_end(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_WORDS", 1000)
    long = b'{"image": "a.jpg", "caption": "' + b"x" * 3_000_000 + b'"}'
    path = write(folder, {"image": "a.jpg"}, long, {"image": "a.jpg"}, long)
    pairs, bad = read(path)
    assert len(pairs) == 2 and [b.why for b in bad] == ["words too long"] * 2
    assert [b.id[-1] for b in bad if b.id.startswith("set/rows@0/")] == ["2"]
