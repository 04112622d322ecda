"""What a corpus is read from, cut into units of work: a file, or a shard of a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any

from qwenvl.data.assemble.recipe import BuildRecipe
from qwenvl.data.shards import MANIFEST, ShardError, ShardReader
from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import formats, is_public
from qwenvl.data.sources.public.registry import open_pictures
from qwenvl.data.sources.scenes import PREFIX
from qwenvl.sample import Image, Record
from qwenvl.typed import nearest


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a source: `shard` of a folder of shards, or all that `spec` gives. `number` counts the units from 0.

    `source` is the place of the source in the recipe.
    """

    number: int
    source: int
    path: str
    shard: int | None = None

    def records(self, bad: BadRows) -> Iterator[Record]:
        """The unit's records; rows that can not be used are counted in `bad`. Raises DataError."""
        if self.shard is None:
            return open_source(self.path, report=bad)
        return self._shard(bad)

    def pictures(self, bad: BadRows) -> Iterator[tuple[str, Image]]:
        """The pictures of the unit with the ids of their records; those of public sets also where a test keeps its
        answers back. Raises DataError.
        """
        if self.shard is None and _public(self.path):
            yield from open_pictures(self.path, bad)
            return
        for record in self.records(bad):
            for image in record.images:
                yield record.id, image

    def _shard(self, bad: BadRows) -> Iterator[Record]:
        try:
            for record in ShardReader(self.path).read_shard(self.shard or 0):
                bad.good += 1
                yield record
        except ShardError as error:
            raise DataError(str(error)) from error


@dataclass(frozen=True)
class Listing:
    """A recipe's units, those of the held-out sets, and the names of sources that are not there."""

    units: tuple[Unit, ...]
    held_out: tuple[Unit, ...]
    missing: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values, with the files' sizes: an input that changed is another one."""
        return {
            "units": [asdict(unit) | {"bytes": _size(unit)} for unit in (*self.units, *self.held_out)],
            "missing": list(self.missing),
        }


def list_units(recipe: BuildRecipe) -> Listing:
    """What there is to read. Raises DataError that names every source that is not there, unless they may be missing,
    and for a format that there is not.
    """
    missing: dict[str, str] = {}
    units: list[Unit] = []
    for index, source in enumerate(recipe.sources):
        spec = recipe.spec(source.spec)
        if there(spec):
            units += _units(spec, index, len(units))
        else:
            missing[source.name] = spec
    held: list[Unit] = []
    for index, text in enumerate(recipe.held_out.sources):
        spec = recipe.spec(text)
        if there(spec):
            held += _units(spec, index, len(held))
        else:
            missing[f"held_out.sources[{index}]"] = spec
    if missing and not recipe.skip_missing:
        raise DataError(
            "\n".join(
                [
                    f"{len(missing)} sources of the recipe {recipe.name} are not there:",
                    *(f"  {name}: {spec}" for name, spec in missing.items()),
                    "Give their folder with root=DIR or their place with sources.NAME.spec=…, or build without them: "
                    "skip_missing=true",
                ]
            )
        )
    if not units:
        raise DataError(f"none of the sources of the recipe {recipe.name} is there")
    return Listing(tuple(units), tuple(held), tuple(missing))


def there(spec: str) -> bool:
    """Whether the file or folder of a spec exists."""
    return spec.startswith(PREFIX) or bool(_files(spec))


def _public(spec: str) -> bool:
    """Whether a spec names a public set."""
    return is_public(spec) and not spec.startswith(PREFIX)


def _files(spec: str) -> list[str]:
    """The spec of each file that is meant: of a pattern, those that it fits, by name."""
    name, rest = spec.split(":", 1) if _public(spec) else ("", spec)
    if name and name not in formats():
        raise DataError(f"{spec}: unknown format {name!r}{nearest(name, list(formats()))}")
    head = f"{name}:" if name else ""
    path, mark, query = rest.rpartition("?") if head and "=" in rest.rpartition("?")[2] else (rest, "", "")
    if "*" in path:
        return [f"{head}{found}{mark}{query}" for found in sorted(glob(path, recursive=True))]
    return [spec] if Path(path).exists() else []


def _units(spec: str, source: int, number: int) -> list[Unit]:
    if spec.startswith(PREFIX):
        open_source(spec)  # a wrong setting is told before anything is done
        return [Unit(number, source, spec)]
    units: list[Unit] = []
    for file in _files(spec):
        if not _public(file) and (Path(file) / MANIFEST).is_file():
            try:
                shards = len(ShardReader(file).shards)
            except ShardError as error:
                raise DataError(str(error)) from error
            units += [Unit(number + len(units) + i, source, file, i) for i in range(shards)]
        else:
            open_source(file)
            units.append(Unit(number + len(units), source, file))
    return units


def _size(unit: Unit) -> int:
    path = Path(unit.path)
    return path.stat().st_size if path.is_file() else 0
