"""A run of a maker of records, such as synthetic documents: units → shards → manifest → contact sheet.

A unit is done by one worker and fills one shard, so the unit is what is done again after a kill; the folder's content
depends on the maker, the units and nothing else. The folder:

00000.parquet …   the records, unit by unit (`qwenvl.data.shards`); no file for a unit that gave none
stats/00000.json  what was made and dropped in a unit; written last, so it says that the unit is done
run.json          what the run was made from
contact.png       some of the pictures with the quads of their lines drawn
manifest.json     the shards, and all units' counts; written last of all
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from qwenvl.data.engine import run as run_units
from qwenvl.data.engine import warm_up
from qwenvl.data.engine.run import Engine
from qwenvl.data.run_folder import alone, not_empty, read_settings, room, same_run
from qwenvl.data.shard_writer import ShardWriter, write_manifest
from qwenvl.data.shards import MANIFEST
from qwenvl.data.synth.contact import SHEET, write_sheet
from qwenvl.data.whole import DRAFTS, whole, write_json, write_text
from qwenvl.sample import Record

FORMAT = "qwenvl-synth-1"
_RUN = "run.json"
_CARD_NAME = "README.md"
_ROWS = 64
"""Records in memory at a time, and in a row group."""

_DECIDES = {
    "format": "version of the format",
    "maker": "kind",
    "settings": "choice of settings",
    "units": "input",
    "input": "input",
}

# Hugging Face's viewer and `load_dataset` take the shards alone, not the files beside them.
_CARD = """---
configs:
- config_name: default
  data_files: "[0-9]*.parquet"
---
{rows:,} {noun} made by `qwenvl synth {name}`. `contact.png` shows some with their lines; `manifest.json` tells the
settings and what was dropped.
"""


class Unit(Protocol):
    """A share of a run's work: a frozen dataclass of JSON values, picklable; `path` says what it is called."""

    @property
    def path(self) -> str: ...


U = TypeVar("U", bound=Unit)
U_in = TypeVar("U_in", bound=Unit, contravariant=True)


@dataclass
class Tally:
    """What a maker counts in a unit: what it dropped by reason, and whatever else (pages, files)."""

    dropped: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


class Maker(Protocol[U_in]):
    """Makes the records of units. It goes to other processes, so it is picklable: a frozen dataclass of settings.

    `name` is its verb ("documents"), `noun` what it makes ("pages").
    """

    @property
    def name(self) -> str: ...
    @property
    def noun(self) -> str: ...

    def settings(self) -> Mapping[str, Any]:
        """All that decides what is made, as JSON values: another run in the same folder must agree on it."""

    def records(self, unit: U_in, tally: Tally) -> Iterator[Record]:
        """The unit's records, the same on every call; what is left out is counted in `tally`."""


@dataclass(frozen=True)
class Made:
    """What a whole run made: records, what was dropped by reason, what else was counted."""

    rows: int
    dropped: Mapping[str, int]
    counted: Mapping[str, int]


@dataclass(frozen=True)
class _Numbered(Generic[U]):
    number: int
    unit: U

    @property
    def path(self) -> str:
        return self.unit.path


def make(
    maker: Maker[U],
    units: Sequence[U],
    out: str | Path,
    *,
    engine: Engine = "pool",
    workers: int | None = None,
    address: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Made:
    """Make the records of all units into the folder `out`, or go on there; gives what was made.

    What is in `out` at the end depends on the maker and the units alone. `fresh` removes an earlier run from `out`
    first. Raises RunError where `out` holds another run or other files, ValueError without units, and the errors of
    `qwenvl.data.engine`.
    """
    if not units:
        raise ValueError("there is nothing to make: no units of work")
    folder = Path(os.path.abspath(out))
    numbered = [_Numbered(number, unit) for number, unit in enumerate(units)]
    with alone(folder), room(folder):
        _prepare(folder, maker, units, fresh)
        work = _Work(folder, maker, len(units))
        if not (folder / MANIFEST).exists():
            if engine == "pool":
                warm_up(type(maker).__module__, workers)
            outcome = run_units(
                numbered,
                work,
                work.done,
                engine=engine,
                workers=workers,
                address=address,
                quiet=quiet,
                title=f"making {maker.noun}",
                noun=maker.noun,
            )
            outcome.check(lambda unit: unit.path)
            _end(folder, maker, work)
        return _total([read_settings(work.statistics(number)) for number in range(len(units))])


@dataclass(frozen=True)
class _Work(Generic[U]):
    """Makes a unit's shard and, last, its statistics."""

    out: Path
    maker: Maker[U]
    units: int

    def __call__(self, unit: _Numbered[U]) -> int:
        tally, rows = Tally(), 0
        shard = self.out / f"{self.name(unit.number)}.parquet"
        stream = self.maker.records(unit.unit, tally)
        with whole(shard) as draft:
            with ShardWriter(draft) as writer:
                while block := list(islice(stream, _ROWS)):
                    writer.add(block)
                    rows += len(block)
            size = draft.stat().st_size
        if not rows:
            shard.unlink()
        made = {"file": shard.name, "rows": rows, "bytes": size} if rows else None
        counts = {"dropped": dict(sorted(tally.dropped.items())), "counted": dict(sorted(tally.counted.items()))}
        write_json(self.statistics(unit.number), {"unit": unit.path, "shard": made, **counts})
        return rows

    def done(self, unit: _Numbered[U]) -> bool:
        """Whether a unit's shard is whole."""
        return self.statistics(unit.number).exists()

    def name(self, number: int) -> str:
        """Five digits, more where there are more units, so that names sort as the units do."""
        return f"{number:0{max(5, len(str(self.units - 1)))}d}"

    def statistics(self, number: int) -> Path:
        """Says that a unit is done."""
        return self.out / "stats" / f"{self.name(number)}.json"


def _prepare(out: Path, maker: Maker[U], units: Sequence[U], fresh: bool) -> None:
    """Make the folder ready, or find the run in it that goes on. Raises RunError where another one is in it."""
    listed = json.dumps([asdict(unit) for unit in units])  # type: ignore[call-overload]
    own = {
        "format": FORMAT,
        "maker": maker.name,
        # as JSON gives them back: lists for tuples
        "settings": json.loads(json.dumps(maker.settings())),
        "units": len(units),
        "input": hashlib.blake2b(listed.encode(), digest_size=16).hexdigest(),
    }
    path = out / _RUN
    if path.exists() and fresh:
        _remove(out)
    if path.exists():
        same_run(read_settings(path), own, out, _DECIDES)
    elif any(out.iterdir()):
        raise not_empty(out, "run of this kind")
    (out / "stats").mkdir(exist_ok=True)
    _tidy(out)
    if not path.exists():
        write_json(path, own)


def _remove(out: Path) -> None:
    """What a run made, and nothing else."""
    if read_settings(out / _RUN).get("format") != FORMAT:
        raise not_empty(out, "run of this kind")
    # first, so that a half removed run is no whole one
    (out / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(out / "stats", ignore_errors=True)
    _tidy(out)
    for path in [*out.glob("[0-9]*.parquet"), out / SHEET, out / _CARD_NAME, out / _RUN]:
        path.unlink(missing_ok=True)


def _tidy(out: Path) -> None:
    """Remove what killed processes left behind."""
    for folder in (out, out / "stats"):
        for draft in folder.glob(DRAFTS):
            with suppress(OSError):
                draft.unlink()


def _end(out: Path, maker: Maker[U], work: _Work[U]) -> None:
    """Contact sheet, card and, last of all, the manifest."""
    _tidy(out)
    found = [read_settings(work.statistics(number)) for number in range(work.units)]
    made = _total(found)
    shards = [unit["shard"] for unit in found if unit["shard"]]
    write_sheet(out, shards)
    write_text(out / _CARD_NAME, _CARD.format(rows=made.rows, noun=maker.noun, name=maker.name))
    meta = {"maker": maker.name, "settings": dict(maker.settings())}
    write_manifest(out, shards, {**meta, "dropped": dict(made.dropped), "counted": dict(made.counted)})


def _total(units: Sequence[Mapping[str, Any]]) -> Made:
    dropped: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for unit in units:
        dropped.update(unit["dropped"])
        counted.update(unit["counted"])
    rows = sum(unit["shard"]["rows"] for unit in units if unit["shard"])
    return Made(rows, dict(sorted(dropped.items())), dict(sorted(counted.items())))
