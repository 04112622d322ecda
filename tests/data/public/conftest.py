"""Fixtures of the readers' tests: a folder of COCO's form, and files of rows in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A folder with train2014/COCO_train2014_000000000009.jpg, 100×80."""
    (tmp_path / "train2014").mkdir()
    PILImage.new("RGB", (100, 80), "white").save(tmp_path / "train2014" / "COCO_train2014_000000000009.jpg")
    return tmp_path


@pytest.fixture
def written(coco: Path) -> Callable[[str, Any], Path]:
    """Writes a value as JSON (or, under a name in .jsonl, a list as lines) into the folder."""

    def write(name: str, value: Any) -> Path:
        path = coco / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in value))
        else:
            path.write_text(json.dumps(value))
        return path

    return write
