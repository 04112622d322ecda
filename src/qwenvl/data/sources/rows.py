"""Reads a file of JSON rows, one a line or in one list, each with its place; a broken row costs that row alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.report import DataError, RowError, Spot

Row = dict[str, Any]

MAX_OBJECT = 16 << 20
"""Bytes of a file that is one row, such as AI2D's, that are read at most."""


def read_rows(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    """Where each row stands, and the row or why it can not be read. The form is told from the content, not from the
    name.

    Raises DataError where the file can not be read or is something else altogether.
    """
    head = beginning(path)
    if head[:1] == b"[":
        return _list_rows(path)
    if head[:1] != b"{":
        known = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip"}
        what = next((name for magic, name in known.items() if head.startswith(magic)), "not JSON")
        raise DataError(f"{path}: is {what}; expected JSON lines (an object a line) or a JSON list of objects")
    if head.split(b"\n", 1)[0].strip() == b"{" or not _is_object(head.split(b"\n", 1)[0], len(head) < 4096):
        _refuse_one_object(path)
    return _line_rows(path)


def beginning(path: Path) -> bytes:
    """The first 4,096 bytes of a file without what may stand before its content. Raises DataError for none."""
    try:
        with path.open("rb") as file:
            head = file.read(4096).lstrip(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not head:
        raise DataError(f"{path}: the file is empty")
    return head


def one_object(path: Path) -> Row:
    """The object that a small file is. Raises RowError."""
    try:
        if path.stat().st_size > MAX_OBJECT:
            raise RowError("", f"more than {MAX_OBJECT >> 20} MB")
        found = _object(json.loads(path.read_bytes().decode("utf-8-sig")))
    except OSError as error:
        raise RowError("", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise RowError("", f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _syntax(error) from None
    if isinstance(found, RowError):
        raise found
    return found


def _is_object(line: bytes, whole: bool) -> bool:
    """Whether a first line is JSON by itself; a line longer than what was read is taken to be."""
    if not whole and b"\n" not in line:
        return True
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_one_object(path: Path) -> None:
    """Raise DataError if the file is a single object over several lines, such as COCO's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return
    keys = ", ".join(map(str, list(found)[:6]))
    raise DataError(
        f"{path}: is one JSON object ({keys}); expected JSON lines (an object a line) or a JSON list of objects"
    )


def _line_rows(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                yield Spot(number), _object(json.loads(line.decode("utf-8")))
            except UnicodeDecodeError as error:
                yield (
                    Spot(number),
                    RowError("", f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"),
                )
            except (ValueError, RecursionError) as error:
                yield Spot(number), _syntax(error)


def _list_rows(path: Path) -> Iterator[tuple[Spot, Row | RowError]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    line, counted, row = 1, 0, 0
    while True:
        row += 1
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        line += text.count("\n", counted, at)
        counted = at
        if at >= len(text):
            yield Spot(line, row), RowError("", "the list is not closed with ]: the file is cut off")
            return
        if text[at] == "]":
            return
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            where = line + (text.count("\n", counted, error.pos) if isinstance(error, json.JSONDecodeError) else 0)
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            yield Spot(where), RowError("", f"not JSON ({reason}); nothing after it in the list can be read")
            return
        yield Spot(line, row), _object(found)


def _object(found: Any) -> Row | RowError:
    if isinstance(found, dict):
        return found
    return RowError("", f"expected an object {{…}}, not {json.dumps(found, ensure_ascii=False)[:60]}")


def _syntax(error: Exception) -> RowError:
    if isinstance(error, json.JSONDecodeError):
        return RowError("", f"not JSON ({error.msg}, column {error.colno})")
    return RowError("", "not JSON (nested too deep)" if isinstance(error, RecursionError) else f"not JSON ({error})")
