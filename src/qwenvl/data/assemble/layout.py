"""The folder of a corpus, while it is made and when it is done.

00000.parquet …           records, a picture once, with the number of samples it gives to each task (`n_<task>`)
manifest.json             the shards, tasks and weights; written last of all
card.html, card.md        what is in it; samples/<task>.html draws some of each task
dropped.parquet           what was left out: id, source, rule, why, winner
wording.yaml              the paraphrases of the prompts, where the recipe has any
run.json                  what it was made from
work/                     while it is made: what was read, and the plan
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.assemble.units import Listing
from qwenvl.data.run_folder import not_empty, read_settings, same_run
from qwenvl.data.shards import MANIFEST
from qwenvl.data.whole import DRAFTS, write_json

FORMAT = "qwenvl-corpus-1"
DROPPED = "dropped.parquet"
WORDING = "wording.yaml"
_FILES = (MANIFEST, "card.html", "card.md", "card.json", DROPPED, WORDING)
_DECIDES = {"format": "version of the format", "recipe": "recipe", "input": "input"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a corpus."""

    out: Path

    @property
    def work(self) -> Path:
        """What is removed in the end."""
        return self.out / "work"

    def held(self, number: int) -> Path:
        """The looks of the pictures of a held-out unit."""
        return self.work / "held" / f"{number:06d}.parquet"

    def looked(self, number: int) -> Path:
        """Says that a held-out unit was read: how many pictures, and rows that could not be used."""
        return self.work / "held" / f"{number:06d}.json"

    def records(self, number: int) -> Path:
        """The records that the rules on single ones kept of a unit."""
        return self.work / "read" / f"{number:06d}.parquet"

    def ledger(self, number: int) -> Path:
        """A row for every record read."""
        return self.work / "read" / f"{number:06d}.ledger.parquet"

    def read(self, number: int) -> Path:
        """Says that a unit was read, and what was wrong with its rows."""
        return self.work / "read" / f"{number:06d}.json"

    @property
    def plan(self) -> Path:
        """Which records go into which shard, joined to which."""
        return self.work / "plan.parquet"

    @property
    def settled(self) -> Path:
        """Says that the plan is whole: the shards and what was counted."""
        return self.work / "plan.json"

    def shard(self, number: int) -> Path:
        """A shard of the corpus."""
        return self.out / f"{number:05d}.parquet"

    def written(self, number: int) -> Path:
        """Says that a shard is whole, and what is in it."""
        return self.work / "written" / f"{number:06d}.json"

    def tidy(self) -> None:
        """Remove what killed processes left behind."""
        for draft in [*self.out.glob(DRAFTS), *self.work.glob(f"**/{DRAFTS}")]:
            with suppress(OSError):
                draft.unlink()


def prepare(out: Path, recipe: BuildRecipe, listing: Listing, fresh: bool) -> Layout:
    """Make the folder ready, or find the corpus in it that goes on. Raises RunError where another one is in it."""
    out.mkdir(parents=True, exist_ok=True)
    layout = Layout(out)
    found = json.dumps(listing.plain()).encode()
    own = {
        "format": FORMAT,
        "recipe": recipe.plain(),
        "input": hashlib.blake2b(found, digest_size=16).hexdigest(),
    }
    path = out / "run.json"
    if fresh and path.exists():
        _remove(layout)
    if path.exists():
        same_run(read_settings(path), own, out, _DECIDES)
    elif any(out.iterdir()):
        raise not_empty(out, "corpus that was begun")
    if not (out / MANIFEST).exists():
        for name in ("held", "read", "written"):
            (layout.work / name).mkdir(parents=True, exist_ok=True)
    layout.tidy()
    if not path.exists():
        write_json(path, own)
    return layout


def _remove(layout: Layout) -> None:
    """What a run made, and nothing else."""
    # first, so that a half removed run is no run
    (layout.out / "run.json").unlink()
    shutil.rmtree(layout.work, ignore_errors=True)
    for path in [*(layout.out / name for name in _FILES), *layout.out.glob("[0-9]*.parquet")]:
        path.unlink(missing_ok=True)
    for path in (layout.out / "samples").glob("*.html"):
        path.unlink()
    with suppress(OSError):
        (layout.out / "samples").rmdir()
