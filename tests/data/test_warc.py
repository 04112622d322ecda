"""Web archives: what comes out of sound ones, and that broken and hostile ones lose no more than what is broken."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fastwarc")

from qwenvl.data.sources.warc import Response, responses
from tests.data.warcs import warc_record

FOUR = [warc_record(f"http://a/{number}", bytes([65 + number]) * (3000 + number)) for number in range(4)]


def read(path: Path, content: bytes, max_bytes: int = 1 << 20) -> tuple[list[Response], Counter[str]]:
    path = path / "some.warc.gz"
    path.write_bytes(content)
    skipped: Counter[str] = Counter()
    return list(responses(str(path), ("application/pdf",), skipped, max_bytes)), skipped


@pytest.mark.parametrize("form", ["plain", "each compressed", "compressed as one"])
def test_all_answers_come_out(tmp_path: Path, form: str) -> None:
    content = b"".join(gzip.compress(record) if form == "each compressed" else record for record in FOUR)
    found, skipped = read(tmp_path, gzip.compress(content) if form == "compressed as one" else content)
    assert [(one.number, one.url, one.content_type) for one in found] == [
        (number, f"http://a/{number}", "application/pdf") for number in range(4)
    ]
    assert [one.content for one in found] == [bytes([65 + number]) * (3000 + number) for number in range(4)]
    assert not skipped


def test_what_is_not_wanted_is_counted(tmp_path: Path) -> None:
    content = [
        warc_record("http://a/", b"x", status="404 Not Found"),
        warc_record("http://a/", b"x", "text/html; charset=gbk"),
        warc_record("http://a/", b"x", warc_headers="WARC-Truncated: length\r\n"),
        warc_record("http://a/", b"x" * 2000),
        warc_record(
            "http://a/",
            b"y",
            "application/octet-stream",
            warc_headers="WARC-Identified-Payload-Type: application/pdf\r\n",
        ),
    ]
    found, skipped = read(tmp_path, b"".join(content), max_bytes=1000)
    assert [one.content for one in found] == [b"y"]
    assert skipped == {
        "not a 200 answer": 1,
        "other content type": 1,
        "truncated by the crawler": 1,
        "too large": 1,
    }


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Encoding: gzip\r\n", gzip.compress(b"content", mtime=0)),
        ("Content-Encoding: deflate\r\n", zlib.compress(b"content")),
        ("Content-Encoding: deflate\r\n", zlib.compress(b"content")[2:-4]),
        ("Transfer-Encoding: chunked\r\n", b"3\r\ncon\r\n4\r\ntent\r\n0\r\n\r\n"),
    ],
)
def test_encodings_are_undone(tmp_path: Path, headers: str, body: bytes) -> None:
    found, skipped = read(tmp_path, gzip.compress(warc_record("http://a/", body, headers=headers)))
    assert [one.content for one in found] == [b"content"] and not skipped


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "sdch"])
def test_a_broken_encoding_loses_one_answer(tmp_path: Path, encoding: str) -> None:
    broken = warc_record("http://a/", b"not that" * 9, headers=f"Content-Encoding: {encoding}\r\n")
    found, skipped = read(tmp_path, gzip.compress(broken) + gzip.compress(FOUR[1]))
    assert [one.url for one in found] == ["http://a/1"] and skipped == {"broken answer": 1}


def test_a_bomb_stays_small(tmp_path: Path) -> None:
    bomb = warc_record("http://a/", gzip.compress(bytes(1 << 24)), headers="Content-Encoding: gzip\r\n")
    found, skipped = read(tmp_path, gzip.compress(bomb) + gzip.compress(FOUR[1]))
    assert [one.url for one in found] == ["http://a/1"] and skipped == {"too large": 1}


@pytest.mark.parametrize("compressed", [True, False])
def test_a_cut_archive_gives_the_rest(tmp_path: Path, compressed: bool) -> None:
    content = b"".join(gzip.compress(record) if compressed else record for record in FOUR)
    found, skipped = read(tmp_path, content[:-20])
    assert len(found) == 3 and skipped == {"cut off by the archive's end": 1}


def test_a_broken_member_loses_one_answer(tmp_path: Path) -> None:
    members = [gzip.compress(record) for record in FOUR]
    members[1] = members[1][:30] + b"\xff" * 20 + members[1][50:]
    found, skipped = read(tmp_path, b"".join(members))
    assert [one.url for one in found] == ["http://a/0", "http://a/2", "http://a/3"]
    assert skipped == {"broken part of an archive": 1}


@pytest.mark.parametrize("length", [100, 4000, 10**15])
def test_a_false_length_loses_one_answer(tmp_path: Path, length: int) -> None:
    content = FOUR[0] + warc_record("http://a/false", b"x" * 3000, length=length) + FOUR[2]
    urls = [one.url for one in read(tmp_path, content)[0]]
    assert urls[0] == "http://a/0" and urls[-1] == "http://a/2"


@pytest.mark.parametrize("content", [b"", b"no archive " * 1000, b"\x1f\x8b\x08" * 10_000, b"WARC/1.0\r\n" * 5000])
def test_what_is_no_archive_gives_nothing(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content)[0] == []


def test_a_missing_archive_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(responses(str(tmp_path / "none.warc"), (), Counter()))
