"""Walks the members of a tar, in order and without unpacking anything; a damaged or truncated one as far as it goes.

Python's tarfile takes 60 µs a member and stops at the first damage. Read are POSIX ustar and pax, GNU (long names, big
sizes) and the old form; links, devices and sparse files are named, not followed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import NamedTuple

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MAGIC = b"ustar"
_FILES = (b"0", b"\0", b"7")
_ABOUT_THE_NEXT = (b"x", b"X", b"g", b"L", b"K")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_TROUBLES = {b"1": "a link", b"2": "a link", b"S": "a sparse file"}

_MAX_WORDS = 1 << 20
_PIECE = 1 << 20

_GZIP = b"\x1f\x8b"
_GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)
_SLACK, _RATIO = 64 << 20, 100
"""Of gzip no more than so many bytes and so many times its own are unpacked: pictures do not shrink."""


class Member(NamedTuple):
    """A file of the archive. `trouble` says why it has no content of its own ("a link", "a sparse file")."""

    name: str
    size: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the archive is not as it should be. `ends`: nothing after it can be read. `member` is the one that
    it cut through, where that is known.
    """

    why: str
    detail: str
    ends: bool = False
    member: str = ""


class TarWalk:
    """Iterates over the members; `read` gives the content of the one just yielded, which is skipped otherwise.

    `size` is the file's, where known: a member that claims more is the archive's end. An archive packed with gzip is
    told by its first bytes.
    """

    def __init__(self, file: BufferedReader, size: int | None) -> None:
        self._raw = file
        self._zipped = file.peek(len(_GZIP)).startswith(_GZIP)
        self._file: BufferedReader | gzip.GzipFile = gzip.GzipFile(fileobj=file, mode="rb") if self._zipped else file
        self._size = None if self._zipped else size
        self._seeks = not self._zipped and file.seekable()
        self._at = self._left = self._pad = 0
        self._again = b""
        self._cut = self._name = ""

    def read(self) -> bytes | None:
        """The member's content; None where the archive ends before it does (then `Damage` comes next)."""
        try:
            content = self._file.read(self._left)
        except _GZIP_ERRORS as error:
            self._cut = f"gzip, after {self._at:,} bytes unpacked: {error}"
            return None
        self._at += len(content)
        if len(content) < self._left:
            self._cut = f"the archive stops at byte {self._at:,}, within a member of {self._left:,} bytes"
            return None
        self._left = 0
        return content

    def __iter__(self) -> Iterator[Member | Damage]:
        try:
            yield from self._members()
        except _Cut as cut:
            yield Damage("truncated shard", str(cut), True, self._name)
        except _GZIP_ERRORS as error:
            yield Damage("truncated shard", f"gzip, after {self._at:,} bytes unpacked: {error}", True, self._name)

    def _members(self) -> Iterator[Member | Damage]:
        extended = _Extended()
        ended = False
        while header := self._header():
            if header == _ZEROS:
                ended = True
                continue
            ended = False
            try:
                kind, name, size = _parsed(header)
            except _HeaderError as error:
                begin = self._at - BLOCK
                self._resync()
                yield Damage("damaged shard", f"{error} at byte {begin:,}; {self._at - begin:,} bytes passed over")
                extended = _Extended()
                continue
            if kind in _ABOUT_THE_NEXT:
                extended.add(kind, self._words(size))
                continue
            trouble = "" if kind in _FILES else _TROUBLES.get(kind, "no plain file")
            if extended.used:
                name, size, trouble = extended.name or name, extended.size(size), extended.trouble or trouble
                extended = _Extended()
            if kind == b"S":
                self._pass_maps(header)
            self._begin(0 if kind in _WITHOUT_CONTENT else size, name)
            if kind != b"5":
                yield Member(name, size, trouble)
            if self._cut:
                raise _Cut(self._cut)
            self._skip()
            self._name = ""
        if not ended:
            raise _Cut(f"the archive stops at byte {self._at:,} without its end mark; members may be missing")

    def _header(self) -> bytes:
        """The next block; none at the end of the file."""
        header = self._again or self._file.read(BLOCK)
        self._again = b""
        self._at += len(header)
        if len(header) < BLOCK and header:
            raise _Cut(f"the archive stops within a header, at byte {self._at:,}")
        if self._zipped and self._at > _SLACK + _RATIO * self._raw.tell():
            raise _Cut(f"gzip unpacks to more than {_RATIO} times its size ({self._at:,} bytes so far): not read on")
        return header

    def _begin(self, size: int, name: str) -> None:
        self._left, self._pad, self._name = size, -size % BLOCK, name
        if self._size is not None and size > self._size - self._at:
            have = self._size - self._at
            what = name[:100] or "an extended header"
            raise _Cut(f"{what} should have {size:,} bytes, but the file ends {have:,} bytes after its header")

    def _skip(self) -> None:
        """Go to the next header, over what was not read and the padding."""
        left, self._left = self._left + self._pad, 0
        if self._seeks and left > BLOCK:
            self._at += left
            self._file.seek(self._at)
            return
        while left:
            piece = self._file.read(min(left, _PIECE))
            left -= len(piece)
            self._at += len(piece)
            if not piece:
                raise _Cut(f"the archive stops at byte {self._at:,}, {left:,} bytes before its member's end")
            if self._zipped and self._at > _SLACK + _RATIO * self._raw.tell():
                raise _Cut(f"gzip unpacks to more than {_RATIO} times its size: not read on")

    def _words(self, size: int) -> bytes | None:
        """The content of a header about the next member; None for one that is too long."""
        self._begin(size, "")
        content = self.read() if size <= _MAX_WORDS else None
        if self._cut:
            raise _Cut(self._cut)
        self._skip()
        return content

    def _pass_maps(self, header: bytes) -> None:
        """Old GNU sparse files: further blocks of the map follow the header."""
        more = header[482]
        while more:
            block = self._header()
            if not block:
                raise _Cut("the archive stops within a sparse file's map")
            more = block[504]

    def _resync(self) -> None:
        """After a damaged header: go to the next block that is one, told by its magic word and its sum."""
        while block := self._header():
            if block[257:262] == _MAGIC:
                try:
                    _parsed(block)
                except _HeaderError:
                    continue
                self._again = block
                self._at -= BLOCK
                return


class _Extended:
    """What headers said about the next member: GNU's long name, or pax fields."""

    __slots__ = ("_size", "name", "trouble", "used")

    def __init__(self) -> None:
        self.used = False
        self.name = self.trouble = ""
        self._size: int | None = None

    def add(self, kind: bytes, content: bytes | None) -> None:
        self.used = True
        if content is None:
            self.trouble = "described by too long a header"
        elif kind == b"L":
            self.name = content.split(b"\0", 1)[0].decode("utf-8", "replace")
        elif kind in b"xX":
            fields = _pax(content)
            self.name = fields.get("GNU.sparse.name") or fields.get("path") or self.name
            if fields.get("size", "").isdecimal():
                self._size = int(fields["size"][:20])
            if any(field.startswith("GNU.sparse.") for field in fields):
                self.trouble = "a sparse file"

    def size(self, otherwise: int) -> int:
        """Bytes of the member's content in the archive."""
        return otherwise if self._size is None else self._size


class _Cut(Exception):
    """The archive stops before its end."""


class _HeaderError(ValueError):
    """A block is no header."""


def _parsed(header: bytes) -> tuple[bytes, str, int]:
    """Type, name and size. Raises _HeaderError."""
    own = header[148:156]
    # the sum counts its own field as spaces
    total = sum(header.translate(None, b"\0")) - sum(own) + 8 * 32
    if total != (claimed := _number(own)):
        negative = 256 * sum(byte > 127 for byte in header[:148] + header[156:])  # old tars count bytes with a sign
        if total - negative != claimed:
            raise _HeaderError("a header whose sum is wrong")
    name = header[:100].split(b"\0", 1)[0]
    if header[345] and header[257:263] == _MAGIC + b"\0":
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return header[156:157], name.decode("utf-8", "replace"), _number(header[124:136])


def _number(field: bytes) -> int:
    """Octal digits, or 256 to a digit where the first bit is set (GNU)."""
    try:
        number = int(field.rstrip(b" \0") or b"0", 8)
    except ValueError:
        if field[0] != 0x80:
            raise _HeaderError("no tar header") from None
        number = int.from_bytes(field[1:], "big")
    if number < 0:
        raise _HeaderError("no tar header")
    return number


def _pax(content: bytes) -> dict[str, str]:
    """Records "length name=value\\n"; what is no record ends the list."""
    fields: dict[str, str] = {}
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        if length <= len(digits) + 1:
            break
        name, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not equals:
            break
        fields[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[length:]
    return fields
