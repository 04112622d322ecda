"""Walks the members of a tar, in order and without unpacking anything; a damaged or truncated one as far as it goes.

Python's tarfile takes 60 µs a member and stops at the first damage. Read are POSIX ustar and pax, GNU (long names, big
sizes) and the old form; links, devices and sparse files are named, not followed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MAX_NAME = 1 << 16
_FILES = b"0\0" + b"7"
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_SLACK, _RATIO = 64 << 20, 100


class Member(NamedTuple):
    """A file of the archive. `trouble` says why it has no content of its own ("a link", "a sparse file")."""

    name: str
    size: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the archive is not as it should be. `ends`: nothing after it can be read."""

    why: str
    detail: str
    ends: bool = False


class _HeaderError(ValueError):
    pass


class TarWalk:
    """Iterates over the members; `read` gives the content of the one just yielded, which is skipped otherwise.

    `size` is the file's, where known: a member that claims more is the archive's end.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self._raw, self._size = file, size
        self._at = 0
        self._left = self._pad = 0
        head = file.read(BLOCK)
        self._zipped = head.startswith(_GZIP)
        if self._zipped:
            file.seek(0)
            self._file: BinaryIO = gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[assignment]
            self._size, head = None, b""
        else:
            self._file = file
        self._seeks = not self._zipped and file.seekable()
        self._head = head

    def read(self) -> bytes | None:
        """The member's content; None where the file ends before it does."""
        content = self._take(self._left)
        self._left = 0
        return content

    def __iter__(self) -> Iterator[Member | Damage]:
        try:
            yield from self._members()
        except _Cut as cut:
            yield Damage("truncated shard", str(cut), ends=True)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Damage("truncated shard", f"gzip, after {self._at:,} bytes unpacked: {error}", ends=True)

    def _members(self) -> Iterator[Member | Damage]:
        name, size, sparse = "", -1, False
        ended = False
        while (header := self._header()) is not None:
            if header == _ZEROS:
                ended = True
                continue
            ended = False
            begin = self._at - BLOCK
            try:
                kind, own_name, own_size = _parsed(header)
            except _HeaderError as error:
                found = self._resync()
                yield Damage("damaged shard", f"{error} at byte {begin:,}; {self._at - begin:,} bytes passed over")
                if found is None:
                    return
                self._head = found
                self._at -= BLOCK
                name, size, sparse = "", -1, False
                continue
            if kind in b"xgLK":
                fields = self._extended(kind, own_size)
                if kind != b"g":
                    name = fields.get("GNU.sparse.name") or fields.get("path") or name
                    size = int(found_size) if (found_size := fields.get("size", "")).isdecimal() else size
                    sparse = sparse or any(field.startswith("GNU.sparse.") for field in fields)
                continue
            member = Member(name or own_name, size if size >= 0 else own_size, _trouble(kind, sparse))
            name, size, sparse = "", -1, False
            if kind == b"S":
                self._pass_maps(header)
            self._begin(member.size if kind in _FILES + b"S" else 0, member.name)
            if kind != b"5":
                yield member
            self._skip()
        if not ended:
            raise _Cut(f"the archive stops at byte {self._at:,} without its end mark; members may be missing")

    def _header(self) -> bytes | None:
        """The next block; None at the end of the file."""
        header, self._head = self._head or self._file.read(BLOCK), b""
        self._at += len(header)
        if header and len(header) < BLOCK:
            raise _Cut(f"the archive stops within a header, at byte {self._at:,}")
        return header or None

    def _begin(self, size: int, name: str) -> None:
        self._left, self._pad = size, -size % BLOCK
        if self._size is not None and size > self._size - self._at:
            have = self._size - self._at
            raise _Cut(f"{name[:100]} should have {size:,} bytes, but the file ends {have:,} bytes after its header")

    def _take(self, count: int) -> bytes | None:
        content = self._file.read(count)
        self._at += len(content)
        self._check_bomb()
        return content if len(content) == count else None

    def _skip(self) -> None:
        """Go to the next header, over what was not read and the padding."""
        left, self._left = self._left + self._pad, 0
        if left <= BLOCK:
            self._at += len(self._file.read(left))
        elif self._seeks:
            self._at += left
            self._file.seek(self._at)
        else:
            while left and (piece := self._file.read(min(left, _PIECE))):
                left -= len(piece)
                self._at += len(piece)
                self._check_bomb()
            if left:
                raise _Cut(f"the archive stops at byte {self._at:,}, {left:,} bytes before its member's end")

    def _check_bomb(self) -> None:
        if self._zipped and self._at > _SLACK + _RATIO * self._raw.tell():
            raise _Cut(f"gzip unpacks to more than {_RATIO} times its size ({self._at:,} bytes so far): not read on")

    def _extended(self, kind: bytes, size: int) -> dict[str, str]:
        """What a header about the next member says: a long name (GNU), or fields (pax)."""
        if size > _MAX_NAME:
            self._begin(size, "an extended header")
            self._skip()
            return {}
        self._begin(size, "an extended header")
        content = self.read() or b""
        self._skip()
        if kind == b"L":
            return {"path": _name(content)}
        return _pax(content) if kind in b"xg" else {}

    def _pass_maps(self, header: bytes) -> None:
        """Old GNU sparse files: further blocks of the map follow the header."""
        more = header[482]
        while more:
            block = self._header()
            if block is None:
                raise _Cut("the archive stops within a sparse file's map")
            more = block[504]

    def _resync(self) -> bytes | None:
        """After a damaged header: the next block that is a header, told by its magic word and its sum."""
        while (block := self._header()) is not None:
            if block[257:262] == b"ustar":
                try:
                    _parsed(block)
                except _HeaderError:
                    continue
                return block
            self._check_bomb()
        return None


class _Cut(Exception):
    """The archive stops before its end."""


def _parsed(header: bytes) -> tuple[bytes, str, int]:
    """Type, name and size."""
    try:
        claimed = _number(header[148:156])
    except _HeaderError:
        raise _HeaderError("no tar header") from None
    # the sum counts its own field as spaces
    own = header[148:156]
    total = sum(header.translate(None, b"\0")) - sum(own) + 8 * 32
    if total != claimed:
        signed = sum(b - 256 if b > 127 else b for b in header) - sum(b - 256 if b > 127 else b for b in own) + 8 * 32
        if signed != claimed:
            raise _HeaderError("a header whose sum is wrong")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return header[156:157], name.decode("utf-8", "replace"), _number(header[124:136])


def _number(field: bytes) -> int:
    """Octal digits, or 256 to a digit where the first bit is set (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():
        raise _HeaderError("a header with a number that is none")
    try:
        return int(digits, 8)
    except ValueError:
        raise _HeaderError("a header with a number that is none") from None


def _name(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode("utf-8", "replace")


def _pax(content: bytes) -> dict[str, str]:
    """Records "length name=value\\n"; what is no record ends the list."""
    fields: dict[str, str] = {}
    while content:
        length, _, rest = content.partition(b" ")
        if not length.isdigit() or len(length) > 6:
            break
        record = rest[: int(length) - len(length) - 1]
        name, equals, value = record.rstrip(b"\n").partition(b"=")
        if not equals:
            break
        fields[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[int(length) :]
    return fields


def _trouble(kind: bytes, sparse: bool) -> str:
    if sparse or kind == b"S":
        return "a sparse file"
    if kind in _FILES:
        return ""
    return {b"1": "a link", b"2": "a link"}.get(kind, "no plain file")
