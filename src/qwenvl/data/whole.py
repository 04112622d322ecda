"""Files that are there whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

DRAFTS = ".*.draft"
"""Glob of what a killed process may leave behind."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; after the block it takes `path`'s place, or is removed where the block raised.

    The file is on the disk before its name is, so that a power cut leaves no empty file under it.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.draft")
    try:
        yield draft
        handle = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
