"""Crawled pairs for the tests of whole runs: small shards in three forms with all that goes wrong on the web."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

WORDS = (
    "a", "red", "blue", "old", "dog", "cat", "house", "on", "the", "beach", "with", "two", "small", "birds", "near",
    "water",
)  # fmt: skip


def jpeg(seed: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture of its own for every seed."""
    draw = random.Random(seed)
    tiny = PILImage.new("RGB", (6, 5))
    tiny.putdata([(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(30)])
    buffer = io.BytesIO()
    tiny.resize(size).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def caption(seed: int) -> str:
    """Four to nine words."""
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=draw.randrange(4, 10)))


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Pairs of which every ninth has the picture of the one before, and some are bad: see `BAD`."""
    found = []
    for number in range(first, first + count):
        picture = jpeg(number - 1 if number % 9 == 8 else number)
        row: dict[str, Any] = {"key": f"{number:06d}", "jpg": picture, "caption": caption(number)}
        row["url"] = f"http://host/{number}.jpg"
        BAD.get(number % 20, lambda _: None)(row)
        found.append(row)
    return found


def _truncated(row: dict[str, Any]) -> None:
    row["jpg"] = jpeg(int(row["key"]), (300, 200))[:-400]


def _no_picture(row: dict[str, Any]) -> None:
    row["jpg"] = b"<html>not found</html>"


def _empty(row: dict[str, Any]) -> None:
    row["jpg"] = b""


def _no_caption(row: dict[str, Any]) -> None:
    row["caption"] = None


def _dirty(row: dict[str, Any]) -> None:
    row["caption"] += " &amp; more IMG_1234.jpg"


def _emoji(row: dict[str, Any]) -> None:
    row["caption"] += " 😀"


BAD = {3: _truncated, 5: _no_picture, 7: _empty, 11: _no_caption, 13: _dirty, 15: _emoji}
"""By the number within twenty: what is done to the row."""


def write_tars(folder: Path, units: int, per_unit: int) -> Path:
    """WebDataset tars as img2dataset writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for unit in range(units):
        with tarfile.open(folder / f"{unit:05d}.tar", "w") as tar:
            for row in rows(per_unit, unit * per_unit):
                about = {"caption": row["caption"], "url": row["url"], "key": row["key"]}
                parts = {"jpg": row["jpg"], "json": json.dumps(about).encode()}
                if row["caption"] is not None:
                    parts["txt"] = row["caption"].encode()
                for ending, content in parts.items():
                    member = tarfile.TarInfo(f"{row['key']}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def write_parquet(folder: Path, units: int, per_unit: int) -> Path:
    """img2dataset's Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for unit in range(units):
        table = pa.Table.from_pylist(rows(per_unit, unit * per_unit))
        pq.write_table(table, folder / f"{unit:05d}.parquet", row_group_size=16)
    return folder


def write_jsonl(folder: Path, count: int) -> Path:
    """JSON lines and a folder of pictures."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w") as lines:
        for row in rows(count):
            (folder / "images" / f"{row['key']}.jpg").write_bytes(row["jpg"])
            about = {key: row[key] for key in ("key", "caption", "url")} | {"image": f"images/{row['key']}.jpg"}
            lines.write(json.dumps(about) + "\n")
    return folder


RECIPE = """
name: test
rules:
  - aspect_ratio: {max: 3.0}
  - size: {min: 32}
  - html: {}
  - patterns: {}
  - emoji: {max: 0}
  - words: {min: 3, max: 60}
  - decodable: {}
"""
SETWIDE = RECIPE + "  - exact_duplicates: {}\n"
SLOW = SETWIDE + "  - tests.data.clean.odd_rules.Slow: {seconds: 0.004}\n"


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    """The recipe as a file."""
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """All files by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
