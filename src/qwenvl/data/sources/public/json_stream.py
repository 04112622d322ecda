"""Rows of a JSON file that is one big list or object, read in pieces: VQAv2's 400 MB never stand in memory at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.data.sources.rows import Row

PIECE = 1 << 20
"""Characters that are read at a time."""

MAX_ROW = 16 << 20
"""A row of more characters is taken for broken."""

_SPACE = " \t\r\n"


def list_rows(path: Path, *names: str) -> Iterator[tuple[Spot, Row | RowError]]:
    """The objects of the list that a file is, or of the list under one of `names` in the object that it is.

    What is no object costs its row alone; after broken JSON nothing can be read, which is said as the last row. Raises
    DataError where the file can not be read, is no JSON, or has no such list.
    """
    window = _Window(path)
    with window.file:
        if window.peek() == "[":
            yield from _objects(window, ("", None))
            return
        there = []
        for name in _names(window):
            there.append(name)
            if name in names and window.peek() == "[":
                yield from _objects(window, (name, None))
                return
            _skip(window)
    wanted = " or ".join(f'"{name}"' for name in names) or "a list"
    raise DataError(f"{path}: no list {wanted} among its members ({', '.join(there[:8])})")


def has_list(path: Path, name: str) -> bool:
    """Whether a file is an object with a list under `name`, or a list itself. Raises DataError for what is no JSON."""
    try:
        next(list_rows(path, name), None)
    except DataError as error:
        if "no list" not in str(error):
            raise
        return False
    return True


def member_rows(path: Path, key: str) -> Iterator[tuple[Spot, Row | RowError]]:
    """The members of the object of objects that a file is: each row is the member, its name (a text) under `key`.

    Errors are those of `list_rows`.
    """
    window = _Window(path)
    with window.file:
        if window.peek() != "{":
            raise DataError(f"{path}: is a JSON list; expected one object with a member for each row")
        yield from _objects(window, ("", key))


def _objects(window: _Window, form: tuple[str, str | None]) -> Iterator[tuple[Spot, Row | RowError]]:
    """The objects of the list or object that comes next; the errors stand in their places."""
    where, key = form
    row = 0
    try:
        for spot, name, value in _values(window):
            row += 1
            here = Spot(spot, row)
            if not isinstance(value, dict):
                said = json.dumps(value, ensure_ascii=False)[:60]
                yield here, RowError(where, f"expected an object {{…}}, not {said}")
            else:
                yield here, {**value, key: name} if key is not None else value
    except _Broken as error:
        yield Spot(window.line, row + 1), RowError(where, f"{error}; nothing after it can be read")


class _Broken(ValueError):
    """The text is no JSON from here on."""


def _names(window: _Window) -> Iterator[str]:
    """The names of the file's members, each with the window at its value, which the caller reads."""
    try:
        window.take("{")
        while window.peek() != "}":
            name = window.value()
            window.take(":")
            yield str(name)
            if window.peek() == ",":
                window.take(",")
    except _Broken as error:
        raise DataError(f"{window.path}:{window.line}: {error}") from None


def _skip(window: _Window) -> None:
    """Step over the value that comes next."""
    try:
        for _ in _values(window):
            pass
    except _Broken as error:
        raise DataError(f"{window.path}:{window.line}: {error}") from None


def _values(window: _Window) -> Iterator[tuple[int, str, Any]]:
    """Line, name ("" in a list) and value of what the next value holds, one at a time; of a plain value itself."""
    opening = window.peek()
    if opening not in "[{":
        yield window.line, "", window.value()
        return
    window.take(opening)
    closing = "]" if opening == "[" else "}"
    while window.peek() != closing:
        line, name = window.line, ""
        if opening == "{":
            name = str(window.value())
            window.take(":")
            window.peek()
        yield line, name, window.value()
        if window.peek() == ",":
            window.take(",")
        elif window.peek() != closing:
            raise _Broken(f"not JSON (expected , or {closing})")
    window.take(closing)


class _Window:
    """A piece of the file's text and where reading stands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            inside = ", ".join(sorted(file.name for file in path.glob("*.json*"))[:5])
            raise DataError(f"{path}: is a folder; name the file of the set{f', such as {inside}' if inside else ''}")
        try:
            self.file: TextIO = path.open(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        self.text, self.at = "", 0
        self._line, self._counted = 1, 0
        if self.peek(end=True) not in ("[", "{"):
            self.file.close()
            what = "is empty" if not self.text.strip() else "is not JSON; expected a list […] or an object {…}"
            raise DataError(f"{path}: {what}")

    @property
    def line(self) -> int:
        """The line in which reading stands, from 1."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def peek(self, end: bool = False) -> str:
        """The next character that is no space; raises _Broken at the end of the file, or gives "" with `end`."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more(PIECE):
                if end:
                    return ""
                raise _Broken("the file is cut off")

    def take(self, character: str) -> None:
        """Step over the character that must come."""
        found = self.peek()
        if found != character:
            raise _Broken(f"not JSON (expected {character} and found {found})")
        self.at += 1

    def value(self) -> Any:
        """The JSON value that comes next."""
        self.peek()
        wanted = PIECE
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
                # a number that ends with the piece may go on in the next one, as 12 of "12." or "12e+"
                if len(self.text) - end > 2 or isinstance(value, str | list | dict) or not self._more(PIECE):
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                # what the end of the piece can not explain is broken
                open_end = error.msg.startswith("Unterminated") or len(self.text) - error.pos < 16
                if not open_end or len(self.text) - self.at > MAX_ROW:
                    raise _Broken(f"not JSON ({error.msg})") from None
                if not self._more(wanted):
                    whole = error.pos < len(self.text.rstrip()) and not error.msg.startswith("Unterminated")
                    raise _Broken(f"not JSON ({error.msg})" if whole else "the file is cut off") from None
                wanted *= 2
            except ValueError as error:
                raise _Broken(f"not JSON ({error})") from None  # a number of thousands of digits
            except RecursionError:
                raise _Broken("not JSON (nested too deep)") from None

    def _more(self, count: int) -> bool:
        """Read on, and forget what lies behind; False at the file's end."""
        try:
            found = self.file.read(count)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
        if not found:
            return False
        line = self.line
        self.text, self.at, self._counted = self.text[self.at :] + found, 0, 0
        self._line = line
        return True


_DECODER = json.JSONDecoder()
