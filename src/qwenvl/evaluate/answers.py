"""The file of answers: a line each, appended as they come, so that a kill loses nothing and a rerun continues."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FILE = "answers.jsonl"
MAX_LINE = 1 << 22


class Answers:
    """A task's folder of answers. Each rank appends to a file of its own; `merge` makes one of them, in order."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        self._file: Any = None

    def read(self) -> dict[str, Row]:
        """All answers so far by their items' ids; a line that a kill cut off is passed over."""
        found: dict[str, Row] = {}
        for path in self._paths():
            found.update((str(row["id"]), row) for row in _rows(path))
        return found

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add answers and hand them to the system at once: a killed process loses none of them."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / (FILE if self.rank == 0 else f"answers.{self.rank}.jsonl")
            _end_line(path)
            self._file = path.open("a", encoding="utf-8")
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.flush()

    def close(self) -> None:
        """Close this rank's file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Put these rows in the place of all files, at once."""
        self.close()
        whole, new = self.folder / FILE, self.folder / f"{FILE}.new"
        self.folder.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        new.replace(whole)
        for path in self._paths():
            if path != whole:
                path.unlink()
        return whole

    def _paths(self) -> list[Path]:
        others = sorted(self.folder.glob("answers.[0-9]*.jsonl"))
        return [path for path in (self.folder / FILE, *others) if path.is_file()]


def _rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the last line of a run that was killed
            if isinstance(row, dict) and "id" in row and isinstance(row.get("answer"), str):
                yield row


def _end_line(path: Path) -> None:
    """A new answer must not stand behind half of another."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
