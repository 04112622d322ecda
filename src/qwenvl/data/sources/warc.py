"""Web archives (WARC, plain or compressed, as Common Crawl gives them) → the answers in them, with FastWARC.

An archive comes from anywhere and may be cut, broken or hostile: sizes are bounded, what can not be used is counted
with its reason, and reading goes on at the next record.
"""

from __future__ import annotations

import io
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from qwenvl.data.sources.pairs.files import open_file

MAX_BYTES = 64 << 20
"""Answers of more bytes are left out, before and after their encoding is undone."""

SUFFIXES = (".warc", ".warc.gz", ".warc.zst")
"""How the names of archives end."""

_MAX_HEADER = 1 << 16
_MAX_ADDRESS = 2000
_MAX_BROKEN = 100
_BLOCK = 1 << 20
_STARTS = (b"\x1f\x8b\x08", b"WARC/1.")
"""How a record begins, compressed by itself or plain."""


class Response(NamedTuple):
    """An answer of a server: its number among the archive's, address, Content-Type (with its charset) and body."""

    number: int
    url: str
    content_type: str
    content: bytes


def responses(
    path: str, types: Collection[str], skipped: Counter[str], max_bytes: int = MAX_BYTES
) -> Iterator[Response]:
    """The answers of media types `types` ("application/pdf") in the archive, a path or an fsspec URL.

    The type is the one that the crawler found in the content where it says so, else the server's. Content and transfer
    encodings are undone. `skipped` counts what is left out, by reason. Raises OSError where the file can not be read,
    and ImportError without FastWARC.
    """
    number = -1
    with open_file(path) as file:
        for record in _records(file, skipped):
            number += 1
            found = _response(number, record, types, skipped, max_bytes)
            if found is not None:
                yield found


def _records(file: Any, skipped: Counter[str]) -> Iterator[Any]:
    """The records that hold answers. Where the archive is broken, it goes on at the next place that may begin one."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise ImportError("web archives need FastWARC: pip install 'qwenvl[warc]'") from error
    wanted = WarcRecordType.response | WarcRecordType.resource
    begin = 0
    sound = True
    for _ in range(_MAX_BROKEN):
        at = begin
        file.seek(begin)
        try:
            for record in ArchiveIterator(file, record_types=wanted, parse_http=False, max_header_len=_MAX_HEADER):
                at, sound = begin + record.stream_pos, True
                yield record
                record.consume()
                if record.content_length > (record.reader.tell() if record.reader else 0):
                    raise EOFError
            return
        except EOFError:  # cut off; or it claims to be longer than it is, and others are in what was taken for its own
            pass
        except OSError as error:
            if error.errno is not None:  # the file's, not FastWARC's about the content
                raise
            # where it goes on may prove to be the same place
            skipped["broken part of an archive"] += sound
            sound = False
        found = _next_start(file, at + 1)
        if found is None:
            return
        begin = found
    skipped["rest of an archive that is broken throughout"] += 1


def _next_start(file: Any, begin: int) -> int | None:
    """The first place from `begin` on where a record may begin."""
    file.seek(begin)
    overlap = max(map(len, _STARTS)) - 1
    tail = b""
    while block := file.read(_BLOCK):
        found = [at for start in _STARTS if (at := (tail + block).find(start)) >= 0]
        if found:
            return begin - len(tail) + min(found)
        begin += len(block)
        tail = (tail + block)[-overlap:]
    return None


def _response(
    number: int, record: Any, types: Collection[str], skipped: Counter[str], max_bytes: int
) -> Response | None:
    """What a record holds, or None with its reason counted."""
    if record.content_length > max_bytes + _MAX_HEADER:
        skipped["too large"] += 1
        return None
    length = record.content_length
    try:
        if record.is_http:
            record.parse_http(max_header_len=_MAX_HEADER)
        length = record.content_length
        headers = record.http_headers if record.is_http else record.headers
        status = headers.status_code if record.is_http else 200
        server_type = headers.get("Content-Type") or ""
        kind = record.headers.get("WARC-Identified-Payload-Type") or server_type
        if status != 200:
            skipped["not a 200 answer"] += 1
        elif kind.split(";")[0].strip().lower() not in types:
            skipped["other content type"] += 1
        elif record.headers.get("WARC-Truncated"):
            skipped["truncated by the crawler"] += 1
        else:
            content = record.reader.read(length) if length else b""
            if len(content) < length:
                skipped["cut off by the archive's end"] += 1
                return None
            if record.is_http:
                content = _plain(content, headers, max_bytes)
            if len(content) <= max_bytes:
                return Response(
                    number, (record.headers.get("WARC-Target-URI") or "")[:_MAX_ADDRESS], server_type or kind, content
                )
            skipped["too large"] += 1
    except (OSError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        skipped["broken answer"] += 1
    return None


def _plain(content: bytes, headers: Any, max_bytes: int) -> bytes:
    """The body without its encodings; one byte more than `max_bytes` where it is longer.

    Not FastWARC's own decoding: after an error in it the rest of the archive is lost.
    """
    from fastwarc.stream_io import BrotliReader, ChunkedReader

    encodings = [name.strip().lower() for name in (headers.get("Content-Encoding") or "").split(",")]
    if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
        content = ChunkedReader(io.BytesIO(content)).read(max_bytes + 1)
    for name in reversed(encodings):
        if name in ("gzip", "x-gzip", "deflate"):
            content = inflated(content, max_bytes + 1)
        elif name == "br":
            content = BrotliReader(io.BytesIO(content)).read(max_bytes + 1)
        elif name not in ("", "identity"):
            raise ValueError(name)
    return content


def inflated(content: bytes, most: int) -> bytes:
    """At most `most` bytes of gzip, zlib or, as some servers send, bare deflate. Raises zlib.error."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, most)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, most)
