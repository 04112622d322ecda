"""Pictures and tars for the readers' tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs import BadPair, Columns, list_units, read_unit

Read = Callable[..., tuple[list[Pair], list[BadPair]]]


PAIR = 7 * 512
"""What a pair of `members` takes in a tar: three headers, two blocks of picture, one each of JSON and text."""


def picture(number: int = 0, size: tuple[int, int] = (40, 30), format: str = "JPEG", **options: Any) -> bytes:
    """A small picture of its own colour."""
    buffer = io.BytesIO()
    PILImage.new("RGB", size, (number * 40 % 256, 90, 200)).save(buffer, format, **options)
    return buffer.getvalue()


def members(count: int) -> list[tuple[str, bytes]]:
    """What img2dataset writes of `count` pairs."""
    found = []
    for number in range(count):
        key = f"{number:09d}"
        row = {"key": key, "url": f"https://example.com/{number}.jpg", "width": 40, "caption": f"caption {number}"}
        found.append((f"{key}.jpg", picture(number)))
        found.append((f"{key}.json", json.dumps(row).encode()))
        found.append((f"{key}.txt", f"caption {number}".encode()))
    return found


def tar_bytes(found: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mode: str = "w") -> bytes:
    """A tar of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as tar:  # type: ignore[call-overload]
        for name, content in found:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a file (unless it is there) and reads it: pairs, and what could not be read; no id comes twice."""

    def reader(content: bytes | Path, name: str = "00000.tar", columns: Columns | None = None) -> Any:
        path = content if isinstance(content, Path) else tmp_path / "set" / name
        if isinstance(content, bytes):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        found = [pair for unit in list_units(str(path), columns=columns) for pair in read_unit(unit, columns)]
        assert len({pair.id for pair in found}) == len(found)
        return [p for p in found if isinstance(p, Pair)], [p for p in found if isinstance(p, BadPair)]

    return reader
