"""Big JSON files read in pieces: the same rows whatever the piece, and what is broken said in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwenvl.data.sources import DataError
from qwenvl.data.sources.public import json_stream
from qwenvl.data.sources.public.json_stream import list_rows, member_rows
from qwenvl.data.sources.report import RowError

ROWS = [{"n": number, "text": 'a "]" and \\ 漢字 }' * number} for number in range(40)]


@pytest.fixture(params=[1, 7, 64, 1 << 20])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_stream, "PIECE", request.param)
    return int(request.param)


@pytest.mark.parametrize("indent", [None, 2])
def test_the_rows_of_a_list_in_an_object_come_whatever_the_piece(
    tmp_path: Path, piece: int, indent: int | None
) -> None:
    path = tmp_path / "a.json"
    other = {"info": {"list": [1, [2], {"x": []}], "number": 12.5}, "images": ROWS[:3], "none": None, "rows": ROWS}
    path.write_text(json.dumps(other, indent=indent, ensure_ascii=False), encoding="utf-8")
    found = list(list_rows(path, "annotations", "rows"))
    assert [row for _, row in found] == ROWS
    assert [spot.row for spot, _ in found] == list(range(1, 41))
    lines = path.read_text().split("\n")
    assert all('"n"' in lines[spot.line - (0 if indent else 1)] for spot, _ in found)


def test_members_come_with_their_names(tmp_path: Path, piece: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({str(row["n"]): row for row in ROWS}), encoding="utf-8")
    assert [row for _, row in member_rows(path, "id")] == [{**row, "id": str(row["n"])} for row in ROWS]


def test_a_row_that_is_no_object_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"n": 1}, 12, {"n": 2}]')
    one, bad, two = [row for _, row in list_rows(path)]
    assert (one, two) == ({"n": 1}, {"n": 2})
    assert isinstance(bad, RowError) and "not 12" in str(bad)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"rows": [{"n": 1}, {"n": ', "cut off"),
        ('{"rows": [{"n": 1},', "cut off"),
        ('{"rows": [{"n": 1} {"n": 2}]}', "expected , or ]"),
        ('{"rows": [{"n": 1}, {"n" 2}, {"n": 3}]}', "not JSON"),
        ('{"rows": [{"n": 1}, ' + "[" * 100_000, "cut off|nested too deep"),
        ('{"rows": [{"n": 1}, {"n": ' + "1" * 10_000 + "}]}", "not JSON"),
        ('{"rows": [{"n": 1}, {"n": tru', "not JSON"),
        ('{"rows": [{"n": 1}, {"n": "a', "cut off"),
    ],
)
def test_what_is_broken_is_said_after_the_rows_before_it(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    first, (spot, last) = list_rows(path, "rows")
    assert first[1] == {"n": 1}
    assert isinstance(last, RowError) and any(words in str(last) for words in said.split("|"))
    assert spot.row == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PAR1....", "is not JSON"),
        (b'{"info": 1, "other": [1]}', 'no list "rows" among its members (info, other)'),
        (b'{"info": ', "cut off"),
        (b'{"rows": ["\xff"]}', "not UTF-8"),
    ],
)
def test_a_file_that_is_something_else_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(list_rows(path, "rows"))
    assert said in str(error.value) and "a.json" in str(error.value)
