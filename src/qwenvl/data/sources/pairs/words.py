"""JSON objects and captions from bytes of others: UTF-8, bounded, and fit to be written again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwenvl.data.sources.pairs.unit import USUAL

# a number that isn't one (NaN, Infinity) is no JSON: it counts as missing
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


class WordsError(ValueError):
    """A caption or a JSON object can't be read; `why` is its kind."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


def json_object(content: bytes) -> dict[str, Any]:
    """The object. Raises WordsError for what is none. Half a surrogate pair becomes U+FFFD."""
    try:
        found = _DECODER.decode(text(content, "JSON"))
    except json.JSONDecodeError as error:
        raise WordsError("broken JSON", f"{error.msg} (character {error.pos + 1} of {len(content):,} bytes)") from None
    except RecursionError:
        raise WordsError("broken JSON", "nested too deep") from None
    except WordsError:
        raise
    except ValueError as error:
        raise WordsError("broken JSON", str(error)[:200]) from None
    if not isinstance(found, dict):
        raise WordsError("broken JSON", f"expected an object {{…}}, not {type(found).__name__}")
    if b"\\u" in content and (b"\\ud" in content or b"\\uD" in content):
        found = _whole(found)
    return found


def text(content: bytes, what: str = "the caption") -> str:
    """UTF-8, with or without a byte-order mark. Raises WordsError."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise WordsError("not UTF-8", f"{what}: byte {error.start + 1} of {len(content):,} is not UTF-8") from None


def take(row: dict[str, Any], what: str, given: str) -> Any:
    """Take the field of a meaning ("caption", "key", "image") out of a row: the one named, or the first usual one."""
    if given:
        return row.pop(given, None)
    for name in USUAL[what]:
        if name in row:
            return row.pop(name)
    return None


def with_url(meta: dict[str, Any], given: str) -> dict[str, Any]:
    """Give a row its address under "url", whatever it is called there."""
    if given or "url" not in meta:
        for name in (given,) if given else USUAL["url"]:
            if name in meta:
                meta["url"] = meta[name] if name == "url" else meta.pop(name)
                break
    return meta


def key_of(row: Mapping[str, Any], given: str, otherwise: str) -> str:
    """The key that a row gives itself, else `otherwise`."""
    for name in (given,) if given else USUAL["key"]:
        value = row.get(name)
        if isinstance(value, str | int) and value != "" and not isinstance(value, bool):
            return str(value)
    return otherwise


def _whole(value: Any) -> Any:
    """The value with every half of a surrogate pair replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8") if not value.isascii() and _halves(value) else value
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(item) for name, item in value.items()}
    return value


def _halves(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)
