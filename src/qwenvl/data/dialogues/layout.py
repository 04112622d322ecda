"""The folder of a corpus of conversations.

00000.parquet …          the conversations, a record each (`qwenvl.data.shards`)
manifest.json            the shards
statistics.json, .html   what the corpus holds; the JSON is written last of all, and says that the run is through
examples.html            some conversations as training sees them
dropped/00000.jsonl …    what was made or asked for and not kept, with its reason
stats/00000.json …       counts of a unit; written last, so they say that a unit is done
run.json                 the recipe that the folder belongs to
llm.sqlite               replies of the language model; stays when a run is started over
work/                    what was read and made on the way; removed at the end
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.data.run_folder import RunError
from qwenvl.data.shards import MANIFEST
from qwenvl.data.whole import DRAFTS, write_json

FORMAT = "qwenvl-dialogues-1"
CACHE = "llm.sqlite"
_FOLDERS = ("work/made", "work/asked", "dropped", "stats")
_FILES = ("run.json", MANIFEST, "statistics.json", "statistics.html", "examples.html", "README.md")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a corpus."""

    out: Path

    @property
    def finished(self) -> Path:
        """The statistics."""
        return self.out / "statistics.json"

    @property
    def gathered(self) -> Path:
        """What was read from the sources."""
        return self.out / "work" / "gathered"

    @property
    def reading(self) -> Path:
        """Counts of the reading; says that it is whole."""
        return self.out / "work" / "gathered.json"

    def made(self, number: int) -> Path:
        """A unit's conversations by the strategies."""
        return self.out / "work" / "made" / f"{number:05d}"

    def to_ask(self, number: int) -> Path:
        """A unit's records that the language model is asked about."""
        return self.out / "work" / "made" / f"{number:05d}.ask"

    def made_mark(self, number: int) -> Path:
        """Counts of the strategies; says that they are through with the unit."""
        return self.out / "work" / "made" / f"{number:05d}.json"

    def asked(self, number: int) -> Path:
        """A unit's conversations by the language model."""
        return self.out / "work" / "asked" / f"{number:05d}"

    def asked_mark(self, number: int) -> Path:
        """Counts of the language model's answers; says that all of the unit's were asked for."""
        return self.out / "work" / "asked" / f"{number:05d}.json"

    def shard(self, number: int) -> Path:
        """A unit's part of the corpus."""
        return self.out / f"{number:05d}.parquet"

    def dropped(self, number: int) -> Path:
        """What a unit did not keep."""
        return self.out / "dropped" / f"{number:05d}.jsonl"

    def statistics(self, number: int) -> Path:
        """Counts of a unit; says that it is done."""
        return self.out / "stats" / f"{number:05d}.json"


def prepare(out: Path, recipe: Mapping[str, Any], fresh: bool) -> tuple[Layout, str]:
    """Make the folder ready, or find the run in it that goes on; also gives a name for the corpus that no other has.

    Raises RunError where the folder holds another corpus or other files.
    """
    if fresh:
        _remove(out)
    path = out / "run.json"
    own: dict[str, Any] = {"format": FORMAT, "recipe": recipe}
    if path.exists():
        there = read_json(path)
        for key in own:
            if there.get(key) != own[key]:
                raise RunError(
                    f"{out}: holds conversations of another {key}; choose another folder, or start over in this one "
                    "with --fresh"
                )
        corpus = str(there["corpus"])
    else:
        others = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith(CACHE))
        if others:
            raise RunError(f"{out}: not empty ({', '.join(others[:5])}): choose another folder")
        corpus = uuid.uuid4().hex
        write_json(path, own | {"corpus": corpus})
    layout = Layout(out)
    if not layout.finished.exists():
        for name in _FOLDERS:
            (out / name).mkdir(parents=True, exist_ok=True)
    return layout, corpus


def tidy(layout: Layout) -> None:
    """Remove what was needed on the way, and what killed processes left behind."""
    shutil.rmtree(layout.out / "work", ignore_errors=True)
    for folder in (layout.out, *(layout.out / name for name in _FOLDERS)):
        for draft in folder.glob(DRAFTS):
            with suppress(OSError):
                draft.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """A file that a run wrote. Raises RunError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: can not be read ({error}); start over with --fresh") from error
    if not isinstance(found, dict):
        raise RunError(f"{path}: holds something else than a run wrote; start over with --fresh")
    return found


def _remove(out: Path) -> None:
    """What a run made, and nothing else; not the replies of the language model, which were paid for."""
    if not (out / "run.json").exists():
        return
    # first, so that a half removed run is no run
    (out / "run.json").unlink()
    for name in ("work", "dropped", "stats"):
        shutil.rmtree(out / name, ignore_errors=True)
    for path in [*(out / name for name in _FILES), *out.glob("[0-9]*.parquet"), *out.glob(DRAFTS)]:
        path.unlink(missing_ok=True)
