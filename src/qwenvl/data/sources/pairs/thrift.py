"""Thrift's compact form, as Parquet's headers and footers are written in it, without their definitions: read, changed
and written again (the public description of the protocol; no lists of maps, which Parquet does not use).
"""

from __future__ import annotations

from typing import Any

Struct = dict[int, tuple[int, Any]]
"""Field number → (type, value). A list is (type of its items, items); a truth is a whole field in its type alone."""

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_INTEGERS = (I16, I32, I64)
_MAX_DEPTH = 16


class ThriftError(ValueError):
    """The bytes are no struct, or end before it does."""


class Reader:
    """Reads on in bytes of others; `at` is where."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content, self.at = content, at

    def struct(self, depth: int = 0) -> Struct:
        """The struct that begins here. Raises ThriftError."""
        if depth > _MAX_DEPTH:
            raise ThriftError("nested too deep")
        found: Struct = {}
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else self._signed()
            found[field] = (kind, self._value(kind, depth))
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in _INTEGERS:
            return self._signed()
        if kind == BYTE:
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._unsigned())
        if kind in (LIST, SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            item = head & 15
            if count > len(self.content) - self.at:
                raise ThriftError("a list longer than the bytes")
            if item in (TRUE, FALSE):
                return item, [self._byte() == TRUE for _ in range(count)]
            return item, [self._value(item, depth) for _ in range(count)]
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ThriftError(f"a field of type {kind}")

    def _byte(self) -> int:
        if self.at >= len(self.content):
            raise ThriftError("cut off")
        self.at += 1
        return self.content[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self.content) - self.at:
            raise ThriftError("cut off")
        self.at += count
        return self.content[self.at - count : self.at]

    def _unsigned(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ThriftError("a number without end")

    def _signed(self) -> int:
        number = self._unsigned()
        return number >> 1 ^ -(number & 1)


def written(struct: Struct) -> bytes:
    """The struct's bytes."""
    out = bytearray()
    _put_struct(out, struct)
    return bytes(out)


def _put_struct(out: bytearray, struct: Struct) -> None:
    before = 0
    for field, (kind, value) in sorted(struct.items()):
        kind = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        if 0 < field - before < 16:
            out.append(field - before << 4 | kind)
        else:
            out.append(kind)
            _put_signed(out, field)
        if kind not in (TRUE, FALSE):
            _put(out, kind, value)
        before = field
    out.append(0)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _put_signed(out, value)
    elif kind in (BYTE, TRUE, FALSE):
        out.append(value if kind == BYTE else (TRUE if value else FALSE))
    elif kind == DOUBLE:
        out += value
    elif kind == BINARY:
        _put_unsigned(out, len(value))
        out += value
    elif kind == STRUCT:
        _put_struct(out, value)
    else:
        item, values = value
        out.append(min(len(values), 15) << 4 | item)
        if len(values) >= 15:
            _put_unsigned(out, len(values))
        for each in values:
            _put(out, item, each)


def _put_unsigned(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put_signed(out: bytearray, number: int) -> None:
    _put_unsigned(out, number << 1 if number >= 0 else (-number << 1) - 1)
