"""The folder of a cleaning run: its files, what it was made from, and who is at work in it.

00000.parquet …            the pairs kept, unit by unit (readable by `qwenvl.data.shards` and Hugging Face datasets)
dropped/00000.parquet …    the pairs dropped: id, source, rule, why, value, caption, winner
stats/00000.json …         counts and histograms of a unit; written last, so they say that a unit is done
pass1/00000.ledger.parquet every pair that was read and what was measured; pass1/00000.json says that it is whole
setwide.parquet            what the rules over the whole set dropped
run.json, units.json       what the run was made from
manifest.json              the shards; written last of all
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from qwenvl.data.clean.recipe import CleanRecipe
from qwenvl.data.run_folder import RunError, not_empty, read_settings, same_run
from qwenvl.data.shards import MANIFEST
from qwenvl.data.sources.pairs import Columns, Unit
from qwenvl.data.whole import DRAFTS, write_json

FORMAT = "qwenvl-clean-1"
_DECIDES = {
    "format": "version of the format",
    "recipe": "recipe",
    "columns": "choice of columns",
    "units": "input",
    "input": "input",
}
_FOLDERS = ("pass1", "dropped", "stats")
_FILES = (
    "run.json", "units.json", "setwide.parquet", MANIFEST, "report.json", "report.html", "pictures.html", "README.md",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a run of `units` units."""

    out: Path
    units: int

    def name(self, number: int) -> str:
        """Five digits, more where there are more units, so that names sort as the units do."""
        return f"{number:0{max(5, len(str(self.units - 1)))}d}"

    def ledger(self, number: int) -> Path:
        """Every pair of a unit."""
        return self.out / "pass1" / f"{self.name(number)}.ledger.parquet"

    def survivors(self, number: int) -> Path:
        """The pairs that the rules on single pairs kept; removed when the unit is done."""
        return self.out / "pass1" / f"{self.name(number)}.parquet"

    def judged(self, number: int) -> Path:
        """Says that the first pass over a unit is whole."""
        return self.out / "pass1" / f"{self.name(number)}.json"

    def kept(self, number: int) -> Path:
        """The shard."""
        return self.out / f"{self.name(number)}.parquet"

    def dropped(self, number: int) -> Path:
        """What was dropped of the unit, and why."""
        return self.out / "dropped" / f"{self.name(number)}.parquet"

    def statistics(self, number: int) -> Path:
        """Says that the unit is done."""
        return self.out / "stats" / f"{self.name(number)}.json"

    @property
    def setwide(self) -> Path:
        """What the rules over the whole set dropped."""
        return self.out / "setwide.parquet"

    def tidy(self) -> None:
        """Remove what killed processes left behind."""
        for folder in (self.out, *(self.out / name for name in _FOLDERS)):
            for draft in folder.glob(DRAFTS):
                with suppress(OSError):
                    draft.unlink()


def prepare(out: Path, units: Sequence[Unit], columns: Columns, recipe: CleanRecipe, fresh: bool) -> Layout:
    """Make the folder ready, or find the run in it that goes on. Raises RunError where another one is in it."""
    out.mkdir(parents=True, exist_ok=True)
    layout = Layout(out, len(units))
    listed = [{key: value for key, value in asdict(unit).items() if key != "number"} for unit in units]
    own = {
        "format": FORMAT,
        "recipe": recipe.plain(),
        "columns": asdict(columns),
        "units": len(units),
        "input": hashlib.blake2b(json.dumps(listed).encode(), digest_size=16).hexdigest(),
    }
    if fresh:
        _remove(out)
    path = out / "run.json"
    if path.exists():
        same_run(read_settings(path), own, out, _DECIDES)
    elif any(out.iterdir()):
        raise not_empty(out, "cleaning run")
    for name in _FOLDERS:
        (out / name).mkdir(exist_ok=True)
    layout.tidy()
    if not path.exists():
        write_json(out / "units.json", listed)
        write_json(path, own)
    return layout


def outside(out: Path, spec: str, units: Sequence[Unit]) -> None:
    """Raise RunError where the output lies in the input: a second call would read it."""
    folder = os.path.realpath(spec) if os.path.isdir(spec) else None
    own = os.path.realpath(out)
    inside = [unit.path for unit in units if os.path.realpath(unit.path).startswith(f"{own}/")]
    if inside or (folder is not None and f"{own}/".startswith(f"{folder.rstrip('/')}/")):
        raise RunError(f"{out}: lies within the input {spec}, and would be read as such: choose another folder")


def _remove(out: Path) -> None:
    """What a run made, and nothing else."""
    if not (out / "run.json").exists():
        return
    # first, so that a half removed run is no run
    (out / "run.json").unlink()
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    for path in [*(out / name for name in _FILES), *out.glob("[0-9]*.parquet"), *out.glob(DRAFTS)]:
        path.unlink(missing_ok=True)
