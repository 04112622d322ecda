"""Documents that others wrote, to make pictures of: files, folders, patterns, web archives, here or at fsspec URLs."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from qwenvl.data.sources.pairs.files import is_url, open_file, size_of
from qwenvl.data.sources.pairs.listing import files_of, inside_of, without_query
from qwenvl.data.sources.report import DataError
from qwenvl.data.sources.warc import SUFFIXES as ARCHIVES
from qwenvl.data.sources.warc import inflated, responses
from qwenvl.data.synth.run import Tally

_UNIT_FILES = 200
_UNIT_BYTES = 128 << 20


@dataclass(frozen=True)
class Documents:
    """A unit of work: some files below the folder `root`, or the archive `root`."""

    root: str
    files: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """What the unit is called."""
        if not self.files:
            return without_query(self.root)
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return without_query(f"{self.root}/{self.files[0]}") + more


class Document(NamedTuple):
    """A document's name, bytes, the content type that a server said ("" for a file) and its address ("" for a file)."""

    name: str
    content: bytes
    content_type: str = ""
    url: str = ""


def list_documents(specs: Sequence[str | Path], endings: Collection[str], each: int = _UNIT_FILES) -> list[Documents]:
    """The units of an input, sorted by path within each of `specs`; at most `each` files in one, an archive by itself.

    A spec is a folder (searched with its sub-folders), a file, or a pattern with *, ? and **; local or any fsspec URL.
    A file that is named by itself may end as it likes; others must end in one of `endings`, with or without ".gz", or
    as a web archive does. What begins with "." is left out. Raises DataError where there is nothing to read, OSError
    where it can not be reached.
    """
    made: list[Documents] = []
    for spec in specs:
        spec = str(spec)
        base, found = files_of(spec)
        wanted = [(path, size) for path, size in sorted(found) if path == spec or _wanted(path, base, endings)]
        if not wanted:
            raise DataError(f"{spec}: no file there that ends in {', '.join((*endings, *ARCHIVES))}")
        plain = [(inside_of(path, base), size) for path, size in wanted if not _archive(path)]
        made += [Documents(base, files) for files in _groups(plain, each)]
        made += [Documents(path) for path, _ in wanted if _archive(path)]
    return _joined(made, each)


def read_documents(unit: Documents, types: Collection[str], max_bytes: int, tally: Tally) -> Iterator[Document]:
    """The documents of a unit; of an archive those of media types `types`. A name is the same wherever the input lies.

    Files and answers of more than `max_bytes` bytes, and what is broken, are counted by reason. Raises OSError where an
    archive can not be read, or a file for a reason that may pass.
    """
    if not unit.files:
        name = os.path.basename(without_query(unit.root))
        skipped: Counter[str] = Counter()
        try:
            for found in responses(unit.root, types, skipped, max_bytes):
                yield Document(f"{name}/{found.number}", found.content, found.content_type, found.url)
        finally:
            tally.dropped.update({f"archive: {why}": count for why, count in skipped.items()})
        return
    folder = os.path.basename(unit.root if is_url(unit.root) else os.path.abspath(unit.root))
    for file in unit.files:
        try:
            content = _content(f"{unit.root}/{file}", max_bytes)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            tally.dropped["file: can not be read"] += 1
        except zlib.error:
            tally.dropped["file: damaged"] += 1
        else:
            if len(content) > max_bytes:
                tally.dropped["file: too large"] += 1
            else:
                yield Document(f"{folder}/{without_query(file)}", content)


def _content(path: str, max_bytes: int) -> bytes:
    """The file's bytes; at most one more than `max_bytes`."""
    with open_file(path) as file:
        if (size_of(file) or 0) > max_bytes:
            return bytes(max_bytes + 1)
        content = file.read(max_bytes + 1)
    compressed = without_query(path).lower().endswith(".gz") and len(content) <= max_bytes
    return inflated(content, max_bytes + 1) if compressed else content


def _archive(path: str) -> bool:
    return without_query(path).lower().endswith(ARCHIVES)


def _wanted(path: str, base: str, endings: Collection[str]) -> bool:
    name = without_query(path).lower().removesuffix(".gz")
    hidden = any(part.startswith(".") for part in inside_of(path, base).split("/"))
    return not hidden and (name.endswith(tuple(endings)) or _archive(path))


def _groups(files: Sequence[tuple[str, int]], each: int) -> Iterator[tuple[str, ...]]:
    """Names in groups of at most `each`, and of about so many bytes that a worker is done with one in minutes."""
    group: list[str] = []
    taken = 0
    for name, size in files:
        if group and (len(group) == each or taken + size > _UNIT_BYTES):
            yield tuple(group)
            group, taken = [], 0
        group.append(name)
        taken += size
    if group:
        yield tuple(group)


def _joined(units: Sequence[Documents], each: int) -> list[Documents]:
    """Single files of one folder, side by side on the command line, as one unit."""
    found: list[Documents] = []
    for unit in units:
        last = found[-1] if found else None
        single = last is not None and len(unit.files) == 1 and last.root == unit.root
        if last is not None and single and last.files and len(last.files) < each:
            found[-1] = Documents(last.root, last.files + unit.files)
        else:
            found.append(unit)
    return found
