"""Fixtures of the data tests: a folder with pictures, and readers of one row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.sample import Record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a.jpg (100×100), sub/b.png (40×30), broken.jpg (cut off) and text.jpg (no picture)."""
    PILImage.new("RGB", (100, 100), "white").save(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    PILImage.new("RGB", (40, 30), "blue").save(tmp_path / "sub" / "b.png")
    noise = PILImage.effect_noise((200, 200), 90)
    noise.save(tmp_path / "broken.jpg")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "broken.jpg").read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("hello")
    return tmp_path


@pytest.fixture
def lines(folder: Path) -> Callable[..., Path]:
    """Writes rows (objects, or lines as they are) to data.jsonl in the folder."""
    return lambda *rows: write_lines(folder, *rows)


def write_lines(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    )
    return path


@pytest.fixture
def one(folder: Path) -> Callable[[Any], Record]:
    """Reads a row strictly."""

    def read(row: Any) -> Record:
        [record] = open_source(write_lines(folder, row), strict=True)
        return record

    return read


@pytest.fixture
def complaint(folder: Path) -> Callable[..., str]:
    """What strict reading says of a row, checked to be what the tolerant reading reports."""

    def read(row: Any, **options: Any) -> str:
        path = write_lines(folder, {"text": "a good row"}, row)
        with pytest.raises(DataError) as error:
            list(open_source(path, strict=True, **options))
        report = BadRows()
        assert len(list(open_source(path, report=report, **options))) == 1
        assert report.count == 1 and report.good == 1 and report.first == str(error.value)
        assert str(error.value).startswith(f"{path}:2: ") and "\n" not in str(error.value)
        return str(error.value).removeprefix(f"{path}:2: ")

    return read
