"""JSON lines that name pictures in the folder of the file: `{"image": "a.jpg", "caption": "…"}`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from qwenvl.data.pair import Pair
from qwenvl.data.sources.fields import Pictures
from qwenvl.data.sources.pairs.files import is_url, open_file
from qwenvl.data.sources.pairs.unit import MAX_PICTURE, MAX_WORDS, BadPair, Columns, Found, Ids, Unit, judged
from qwenvl.data.sources.pairs.words import WordsError, json_object, key_of, take, with_url
from qwenvl.data.sources.report import RowError

_KNOWN = 4096
_OWN_FAULT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO)
"""What opening one file may fail with without there being anything wrong with the disk."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# without waiting: a named pipe would never open
_HOW = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_jsonl(unit: Unit, columns: Columns) -> Iterator[Pair | BadPair]:
    """The pairs of the lines that begin in the unit's bytes. A broken line costs its pair alone.

    A picture's path is relative to the file's folder and stays in it, links included; addresses are never fetched. A
    row without a key has the number of its line in the unit.
    """
    ids = Ids(unit)
    folder = _UrlFolder(unit.path) if is_url(unit.path) else _Folder(unit.path)
    with open_file(unit.path) as file:
        for number, begin, line in _lines(file, unit):
            found = _found(line, folder, columns, str(number))
            if found.trouble is not None:
                why, detail = found.trouble
                yield ids.bad(found.key, why, f"line at byte {begin:,}: {detail}")
            else:
                yield judged(found, ids)


def _lines(file: BinaryIO, unit: Unit) -> Iterator[tuple[int, int, bytes]]:
    """Number in the unit (from 1), first byte, and line; of one that is too long the first part."""
    at = 0
    if unit.begin:
        file.seek(unit.begin - 1)
        at = unit.begin - 1 + _pass_line(file)
    number = 0
    while (unit.end is None or at < unit.end) and (line := file.readline(MAX_WORDS + 1)):
        number += 1
        begin = at
        at += len(line)
        if len(line) > MAX_WORDS and not line.endswith(b"\n"):
            at += _pass_line(file)
        if line.strip():
            yield number, begin, line


def _pass_line(file: BinaryIO) -> int:
    """Read to the end of the line; how many bytes that were."""
    passed = 0
    while piece := file.readline(1 << 20):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed


def _found(line: bytes, folder: _Folder | _UrlFolder, columns: Columns, key: str) -> Found:
    if len(line) > MAX_WORDS:
        return Found(key, None, None, trouble=("words too long", f"more than {MAX_WORDS:,} bytes"))
    try:
        row = json_object(line.strip())
    except WordsError as error:
        return Found(key, None, None, trouble=(error.why, str(error)))
    key = key_of(row, columns.key, key)
    named: Any = take(row, "image", columns.image)
    caption = take(row, "caption", columns.caption)
    meta = with_url(row, columns.url)
    try:
        content = folder.read(named)
    except RowError as error:
        return Found(key, None, None, trouble=(error.field, error.reason))
    return Found(key, content, caption, str(named).replace("\\", "/").rpartition("/")[2], meta)


class _Folder:
    """The pictures of a local folder."""

    def __init__(self, file: str) -> None:
        self._pictures = Pictures(Path(file).parent)
        self._known: dict[str, str] = {}

    def read(self, name: Any) -> bytes:
        """The file's bytes. Raises RowError whose field is the kind of trouble."""
        if not isinstance(name, str) or not name:
            raise RowError("no picture", "the row names no picture")
        try:
            handle = self._opened(name)
        except OSError as error:
            if error.errno not in _OWN_FAULT:
                raise
            raise RowError("no picture", f"{name[:200]}: {error.strerror}") from None
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise RowError("no picture", f"no plain file: {name[:200]}")
            if about.st_size > MAX_PICTURE:
                raise RowError("picture too large", f"{name[:200]}: {about.st_size:,} bytes, more than {MAX_PICTURE:,}")
            return os.read(handle, about.st_size)
        finally:
            os.close(handle)

    def _opened(self, name: str) -> int:
        """The file's handle. Of a folder's first picture all links on the way are looked at, of the others its own."""
        folder, slash, base = name.rpartition("/")
        if _NO_LINK and base not in ("", ".", "..") and name[0] != "/" and not set(base) & set("\0\\"):
            real = self._known.get(folder)
            if real is None:
                if len(self._known) > _KNOWN:
                    self._known.clear()
                real = self._known[folder] = self._inside(folder + slash if slash else ".")
            try:
                return os.open(f"{real}/{base}", _HOW | _NO_LINK)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):  # what systems say of a link
                    raise
        return os.open(self._inside(name), _HOW)

    def _inside(self, name: str) -> str:
        try:
            return str(self._pictures.path(name, "image"))
        except RowError as error:
            raise RowError("outside the folder", error.reason) from None


class _UrlFolder:
    """The pictures beside a file that fsspec reads."""

    def __init__(self, file: str) -> None:
        self._base = file.rpartition("/")[0]

    def read(self, name: Any) -> bytes:
        """The file's bytes. Raises RowError as `_Folder.read`."""
        if not isinstance(name, str) or not name:
            raise RowError("no picture", "the row names no picture")
        parts = name.split("/")
        # "?", "#" and "::" have a meaning in addresses, "%" may spell any of the others
        if "://" in name or "::" in name or ".." in parts or "" in parts or set(name) & set("\\?#%\0*["):
            raise RowError("outside the folder", f"{name[:200]} is no plain path below the file's folder")
        try:
            with open_file(f"{self._base}/{name}") as file:
                return file.read(MAX_PICTURE + 1)
        except FileNotFoundError:
            raise RowError("no picture", f"no such file: {name[:200]}") from None
