"""Makes web archives for tests, sound and broken ones."""

from __future__ import annotations


def warc_record(
    url: str,
    body: bytes,
    content_type: str = "application/pdf",
    *,
    status: str = "200 OK",
    headers: str = "",
    warc_headers: str = "",
    length: int | None = None,
) -> bytes:
    """A record of an answer; `headers` and `warc_headers` are lines that end in CRLF, `length` a false length."""
    answer = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode() + body
    own = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: {url}\r\n"
        f"Content-Type: application/http; msgtype=response\r\n{warc_headers}"
        f"Content-Length: {len(answer) if length is None else length}\r\n\r\n"
    )
    return own.encode() + answer + b"\r\n\r\n"
