"""What a Parquet file without its footer still holds: the row groups before the cut, found page by page.

A Parquet file says at its end what it is made of, so a truncated one tells nothing of itself. Another shard of the same
folder does: schema, order of columns and rows of a group are taken from it, the page headers are walked from the front,
and a footer for the groups that are whole is made. That the two fit is seen from the values: where one column's pages
were taken for another's, bytes of pictures stand among the words.
"""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

from qwenvl.data.sources.pairs.files import filesystem, is_url, open_file, size_of
from qwenvl.data.sources.pairs.thrift import I64, LIST, STRUCT, Reader, Struct, ThriftError, written

_MAGIC = b"PAR1"
_MAX_FOOTER = 64 << 20
_MAX_HEADER = 1 << 16
_LOOKED_AT = 5
"""How many other shards are tried."""

# numbers of fields in Parquet's definition
_ROWS, _GROUPS = 3, 4
_COLUMNS, _GROUP_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_PACKED, _ORDINAL = 1, 2, 3, 5, 6, 7
_FILE_OFFSET, _META = 2, 3
_VALUES, _PLAIN_BYTES, _PACKED_BYTES, _DATA_OFFSET, _DICTIONARY_OFFSET = 5, 6, 7, 9, 11
_OF_THE_PAGES = (4, 5, 6, 7)  # of a column chunk: where indexes lie
_OF_THE_VALUES = (10, 12, 13, 14, 15, 16)  # of its metadata: indexes, statistics, filters
_PAGE_TYPE, _PAGE_PLAIN, _PAGE_PACKED, _DATA_PAGE, _DATA_PAGE_2 = 1, 2, 3, 5, 8
_REPEATED = 2


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A view of the file with a footer, its row groups, and the bytes after them that are lost."""

    file: io.RawIOBase
    groups: int
    rows: int
    lost: int


def salvaged(path: str, file: BufferedReader, fits: Callable[[Any, int], bool]) -> Salvaged | None:
    """The whole row groups of a truncated file; None where there is none or no other shard tells the layout.

    `fits(file, group)` looks at the values of a group in such a view.
    """
    size = size_of(file)
    file.seek(0)
    if size is None or file.read(4) != _MAGIC:
        return None
    for other in _others(path):
        with open_file(other) as whole:
            footer = _footer(whole)
        groups, ends = _whole_groups(file, size, footer) if footer else ([], [])
        if not footer or not groups:
            continue
        view = _view(file, ends[-1], footer, groups)
        count = next((number for number in range(len(groups)) if not fits(view, number)), len(groups))
        if count:
            rows = sum(group[_GROUP_ROWS][1] for group in groups[:count])
            end = ends[count - 1]
            return Salvaged(_view(file, end, footer, groups[:count]), count, rows, size - end)
    return None


def _view(file: BufferedReader, end: int, footer: Struct, groups: list[Struct]) -> io.RawIOBase:
    """The file to a byte, and a footer for these groups."""
    rows = sum(group[_GROUP_ROWS][1] for group in groups)
    content = written({**footer, _ROWS: (I64, rows), _GROUPS: (LIST, (STRUCT, groups))})
    return _WithTail(file, end, content + len(content).to_bytes(4, "little") + _MAGIC)


def _others(path: str) -> Iterator[str]:
    """Other shards of the folder, the first few by name."""
    folder, _, own = path.rpartition("/")
    if is_url(path):
        system, inside = filesystem(folder)
        names = [str(name).rpartition("/")[2] for name in system.ls(inside, detail=False)]
    else:
        names = os.listdir(folder or ".")
    shards = sorted(name for name in names if name.endswith(".parquet") and name[0] not in "._" and name != own)
    yield from (f"{folder}/{name}" if folder else name for name in shards[:_LOOKED_AT])


def _footer(file: BufferedReader) -> Struct | None:
    """The footer of a whole file whose columns hold one value a row."""
    size = size_of(file)
    if size is None or size < 12:
        return None
    file.seek(size - 8)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    if magic != _MAGIC or not 0 < length <= min(size - 12, _MAX_FOOTER):
        return None
    file.seek(size - 8 - length)
    try:
        footer = Reader(file.read(length)).struct()
        schema = footer[2][1][1]
        flat = all(element.get(3, (0, 0))[1] != _REPEATED for element in schema)
        return footer if flat and footer[_GROUPS][1][1] else None
    except (ThriftError, KeyError, TypeError, IndexError):
        return None


def _whole_groups(file: BufferedReader, size: int, footer: Struct) -> tuple[list[Struct], list[int]]:
    """The row groups that are there to their last byte, each made like the other shard's first, and where each ends."""
    model: Struct = footer[_GROUPS][1][1][0]
    groups: list[Struct] = []
    ends: list[int] = []
    at = len(_MAGIC)
    try:
        while True:
            group, at = _group(file, at, size, model, len(groups))
            groups.append(group)
            ends.append(at)
    except (ThriftError, KeyError, TypeError, IndexError):
        return groups, ends


def _group(file: BufferedReader, at: int, size: int, model: Struct, ordinal: int) -> tuple[Struct, int]:
    """The group that begins at a byte, and its end. Raises ThriftError where it is not whole or of another layout."""
    group = copy.deepcopy(model)
    rows = group[_GROUP_ROWS][1]
    begin, plain = at, 0
    columns = group[_COLUMNS][1][1]
    for column in sorted(columns, key=_first_page):
        for field in _OF_THE_PAGES:
            column.pop(field, None)
        meta: Struct = column[_META][1]
        pages = _pages(file, at, size, rows)
        for field in (*_OF_THE_VALUES, _DICTIONARY_OFFSET):
            meta.pop(field, None)
        if pages.dictionary is not None:
            meta[_DICTIONARY_OFFSET] = (I64, pages.dictionary)
        meta[_DATA_OFFSET] = (I64, pages.data)
        meta[_VALUES] = (I64, rows)
        meta[_PLAIN_BYTES] = (I64, pages.plain)
        meta[_PACKED_BYTES] = (I64, pages.end - at)
        column[_FILE_OFFSET] = (I64, at)
        plain += pages.plain
        at = pages.end
    group[_GROUP_BYTES] = (I64, plain)
    for field, value in ((_GROUP_OFFSET, begin), (_GROUP_PACKED, at - begin)):
        if field in group:
            group[field] = (I64, value)
    if _ORDINAL in group:
        group[_ORDINAL] = (group[_ORDINAL][0], ordinal)
    return group, at


def _first_page(column: Struct) -> int:
    meta = column[_META][1]
    return int(min(meta[field][1] for field in (_DATA_OFFSET, _DICTIONARY_OFFSET) if field in meta and meta[field][1]))


@dataclass(slots=True)
class _Pages:
    """A column's pages in a group: where the first of data and the dictionary begin, bytes unpacked, and the end."""

    end: int
    data: int = 0
    dictionary: int | None = None
    plain: int = 0


def _pages(file: BufferedReader, at: int, size: int, rows: int) -> _Pages:
    """Pages with `rows` values in all, from a byte on. Raises ThriftError."""
    found = _Pages(at)
    values = 0
    while values < rows:
        file.seek(found.end)
        reader = Reader(file.read(min(_MAX_HEADER, size - found.end)))
        header = reader.struct()
        begin, packed = found.end, header[_PAGE_PACKED][1]
        if packed < 0 or header[_PAGE_PLAIN][1] < 0:
            raise ThriftError("no page header")
        found.plain += reader.at + header[_PAGE_PLAIN][1]
        found.end += reader.at + packed
        if found.end > size:
            raise ThriftError("cut off")
        data = header.get(_DATA_PAGE) or header.get(_DATA_PAGE_2)
        if data is not None:
            values += data[1][1][1]
            found.data = found.data or begin
        elif header[_PAGE_TYPE][1] == 2 and not values and found.dictionary is None:
            found.dictionary = begin
        else:
            raise ThriftError("a page where none is expected")
    if values != rows:
        raise ThriftError("a group of other rows")
    return found


class _WithTail(io.RawIOBase):
    """The first bytes of a file, and others after them."""

    def __init__(self, file: BufferedReader, length: int, tail: bytes) -> None:
        self._file, self._length, self._tail, self._at = file, length, tail, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._length + len(self._tail))[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        data = b""
        if self._at < self._length:
            self._file.seek(self._at)
            data = self._file.read(min(wanted, self._length - self._at))
        if len(data) < wanted and self._at + len(data) >= self._length:
            begin = self._at + len(data) - self._length
            data += self._tail[begin : begin + wanted - len(data)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
