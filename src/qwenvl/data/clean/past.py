"""A cleaning run that was made, opened again: its units, its recipe, what it thought of a pair."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.data.clean.layout import FORMAT, Layout
from qwenvl.data.clean.recipe import CleanRecipe, recipe_of
from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs import BadPair, Columns, Unit, read_unit


class PastError(ValueError):
    """There is no such run, or no such pair in it; the message says what there is."""


@dataclass(frozen=True)
class PastRun:
    """A run's folder, opened. `units` are those of its input, in order."""

    layout: Layout
    units: tuple[Unit, ...]
    columns: Columns
    recipe: CleanRecipe

    def ledger(self, number: int, columns: Sequence[str] | None = None) -> Any:
        """The ledger of a unit as a table. Raises PastError where the run has not come to it yet."""
        import pyarrow.parquet as pq

        path = self.layout.ledger(number)
        if not path.exists():
            raise PastError(f"{path}: not there yet; run the command that made {self.layout.out} again to its end")
        return pq.read_table(path, columns=columns, use_threads=False)

    def set_drops(self, number: int) -> dict[int, dict[str, Any]]:
        """What the rules on the whole set dropped of a unit: row → rule, why, value, winner."""
        import pyarrow.parquet as pq

        if not self.layout.setwide.exists():
            return {}
        found = pq.read_table(self.layout.setwide, filters=[("unit", "==", number)], use_threads=False)
        return {row.pop("row"): row for row in found.to_pylist()}

    def find(self, id: str) -> tuple[Unit, int]:
        """The unit and the row of a pair. Raises PastError where there is none of that id."""
        import pyarrow.compute as pc

        units = [unit for unit in self.units if id.startswith(f"{unit.source}/{unit.stem}/")]
        for unit in sorted(units, key=lambda unit: -len(unit.stem)):
            row = pc.index(self.ledger(unit.number, ["id"])["id"], id).as_py()
            if row >= 0:
                return unit, row
        raise PastError(f"{self.layout.out}: no pair {id!r}{self._example(units)}")

    def _example(self, units: Sequence[Unit]) -> str:
        """What ids look like, from the unit that was meant or from the first that has any."""
        for unit in units or self.units:
            ids = self.ledger(unit.number, ["id"])["id"]
            if len(ids):
                return f"; ids are source/unit/key, such as {ids[0].as_py()!r}"
        return "; the run has read no pairs"

    def pairs(self, unit: Unit, rows: Sequence[int]) -> Iterator[tuple[int, Pair | BadPair]]:
        """Some rows of a unit, read again from the input as they were read at first, in rising order."""
        wanted = set(rows)
        last = max(wanted, default=-1)
        for row, item in enumerate(read_unit(unit, self.columns)):
            if row in wanted:
                yield row, item
            if row >= last:
                return


def open_run(out: Path) -> PastRun:
    """The run in a folder. Raises PastError where there is none that can be read."""
    if not (out / "run.json").is_file():
        raise PastError(f"{out}: no cleaning run (there is no run.json); give the OUTPUT of `qwenvl data clean`")
    try:
        about = json.loads((out / "run.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise PastError(f"{out}: made by another version ({about['format']}, this one reads {FORMAT})")
        listed: list[Mapping[str, Any]] = json.loads((out / "units.json").read_text(encoding="utf-8"))
        units = tuple(Unit(number=number, **entry) for number, entry in enumerate(listed))
        columns = Columns(**about["columns"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, PastError):
            raise
        raise PastError(f"{out}: run.json or units.json is damaged ({error})") from error
    return PastRun(Layout(out, len(units)), units, columns, recipe_of(about["recipe"], str(out / "run.json")))
