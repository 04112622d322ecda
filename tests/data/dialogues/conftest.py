"""Annotated pictures in a JSONL file, and recipes about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

pytest.importorskip("pyarrow")

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """data.jsonl: eight pictures of 100×80 pixels, what is known of each spread over three rows."""
    rows: list[dict[str, Any]] = []
    for number, colour in enumerate(COLOURS):
        image = f"{number}.png"
        PILImage.new("RGB", (100, 80), colour).save(tmp_path / image)
        box = [10, 8, 50 + number, 40]
        rows += [
            {"id": f"c{number}", "image": image, "caption": f"a {colour} wall behind a dog", "language": "en"},
            {
                "id": f"q{number}",
                "image": image,
                "qas": [
                    {"question": "What is the colour?", "answer": colour},
                    {"question": "How many dogs are there?", "answer": "1"},
                    {"question": f"Is it {colour}?", "answer": "yes"},
                ],
            },
            {"id": f"p{number}", "image": image, "phrase": "dog", "boxes": [box]},
        ]
    write(tmp_path / "data.jsonl", rows)
    talk = {"from": "user", "value": "Hello?"}, {"from": "assistant", "value": "Hello, how can I help?"}
    write(tmp_path / "talk.jsonl", [{"id": f"t{i}", "conversations": talk} for i in range(20)])
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def recipe_of(pictures: Path) -> Callable[..., Any]:
    """A recipe about the pictures with the given strategies and keys."""
    from qwenvl.data.dialogues.recipe import DialogueRecipe
    from qwenvl.typed import from_dict

    def made(strategies: dict[str, Any], **keys: Any) -> DialogueRecipe:
        data = {"name": "test", "sources": [{"source": str(pictures / "data.jsonl")}], "strategies": strategies}
        return from_dict(DialogueRecipe, data | keys, "test")

    return made
