"""Small sets on the disk: pictures of coloured patches, and JSON lines about them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from qwenvl.data.assemble.recipe import BuildRecipe, load_build_recipe
from qwenvl.data.shards import ShardReader
from qwenvl.sample import Record


def picture(path: Path, seed: int, width: int = 96, height: int = 64, quality: int = 95) -> Path:
    """A picture of eight by eight patches, the same for a seed at any size but for its sharpness."""
    rng = random.Random(seed)
    small = PILImage.frombytes("RGB", (8, 8), rng.randbytes(192))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((width, height), PILImage.Resampling.BICUBIC).save(path, quality=quality)
    return path


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def captions(folder: Path, name: str, seeds: range) -> Path:
    """A set with a picture `p<seed>.jpg` and a caption for every seed."""
    for seed in seeds:
        picture(folder / f"p{seed}.jpg", seed)
    return lines(
        folder / f"{name}.jsonl", *({"image": f"p{s}.jpg", "caption": f"{name} sees {s}", "id": f"c{s}"} for s in seeds)
    )


def questions(folder: Path, name: str, seeds: range, each: int = 2) -> Path:
    """A set with `each` questions about every seed's picture."""
    for seed in seeds:
        picture(folder / f"p{seed}.jpg", seed)
    rows: list[dict[str, Any]] = [
        {"image": f"p{s}.jpg", "qas": [{"question": f"{name} {s} {i}?", "answer": f"{i}"} for i in range(each)]}
        for s in seeds
    ]
    return lines(folder / f"{name}.jsonl", *rows)


def recipe(folder: Path, *sources: dict[str, Any], **keys: Any) -> BuildRecipe:
    """The recipe of some sources, read from a file as a user's is."""
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"name": "try", "sources": list(sources), **keys}), encoding="utf-8")
    return load_build_recipe(path)


def records(folder: Path) -> list[Record]:
    """All records of a corpus."""
    reader = ShardReader(folder)
    return [record for number in range(len(reader.shards)) for record in reader.read_shard(number)]
