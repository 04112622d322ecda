"""A web page's bytes as text, and as a document that can load nothing, style nothing and go nowhere."""

from __future__ import annotations

import codecs
import re

_LABEL = rb"[A-Za-z0-9._:-]{2,40}"
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*(" + _LABEL + rb")", re.IGNORECASE)
_XML = re.compile(rb"^<\?xml[^>]{0,200}?encoding\s*=\s*[\"'](" + _LABEL + rb")[\"']")
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{2,40})", re.IGNORECASE)
_LOOK = 4096

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

# What browsers take a name for (WHATWG Encoding, section 4.2): the larger set of the same family.
_LARGER = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be", "utf-32"), "utf-8"),
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "iso8859-9": "cp1254",
}
_KNOWN = frozenset((
    "utf-8", "gb18030", "cp1252", "big5hkscs", "cp932", "euc_jp", "euc_kr", "cp949", "iso2022_jp", "hz",
    "koi8-r", "koi8-u", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-10",
    "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "cp874", "cp866", "mac-roman",
))  # fmt: skip

# `basefont` has no content, may stand in the head and does nothing: no tag after it is read differently.
_LOADS = re.compile(r"<(?:meta|link|base)(?=[\s/>])", re.IGNORECASE)


def decode(data: bytes, content_type: str = "") -> str:
    """A page's text. A byte order mark decides; then the bytes, where they have more than ASCII and are UTF-8, which
    no text of another encoding is by accident; then what the header or the page says; then GB 18030 and Windows-1252.

    Names of encodings are understood as browsers do (WHATWG Encoding). Bytes without a meaning become U+FFFD.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, errors="replace")
    said = _said(data, content_type)
    for name in [*([] if data.isascii() else ["utf-8"]), *said, "gb18030"]:
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return data.decode(said[0] if said else "cp1252", errors="replace")


def _said(data: bytes, content_type: str) -> list[str]:
    head = data[:_LOOK]
    found = [match.group(1) for match in (_HEADER.search(content_type),) if match]
    found += [match.group(1).decode("ascii") for match in (_META.search(head), _XML.search(head)) if match]
    return [name for name in map(_codec, found) if name]


def _codec(label: str) -> str | None:
    """Python's name of an encoding of text that the web knows."""
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    name = _LARGER.get(name, name)
    return name if name in _KNOWN else None


def harmless(source: str, css: str, nonce: str) -> str:
    """The page with `css` as its only stylesheet, and a policy that forbids all it could load, send or embed.

    Tags that make a browser fetch or go elsewhere by themselves (`<meta http-equiv=refresh>`, `<link>`, `<base>`) are
    taken out. `nonce` is what the policy knows the stylesheet by; the page must not be able to guess it.
    """
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'none'; base-uri 'none'; frame-src 'none'"
    return (
        f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<style nonce="{nonce}">{css}</style>{_LOADS.sub("<basefont", source.replace(chr(0), ""))}'
    )
