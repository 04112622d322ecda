"""HTML in captions: tags out, entities decoded, and nothing that only looks like them (paper, appendix A.1)."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.entities import html5
from typing import ClassVar

from qwenvl.data.clean.rule import Change, Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair

_INLINE = (
    "abbr|acronym|a|bdi|bdo|big|blink|b|cite|code|data|del|dfn|em|font|ins|i|kbd|label|mark|nobr|q|rp|rt|ruby|samp|"
    "small|span|strike|strong|sub|sup|s|time|tt|u|var|wbr"
)
_BLOCK = (
    "address|area|article|aside|audio|base|blockquote|body|br|button|canvas|caption|center|colgroup|col|dd|details|"
    "dialog|dir|div|dl|dt|embed|fieldset|figcaption|figure|footer|form|frameset|frame|h[1-6]|header|head|hgroup|hr|"
    "html|iframe|img|input|legend|link|li|main|map|marquee|menu|meta|nav|noscript|object|ol|optgroup|option|output|"
    "param|picture|pre|progress|p|section|select|source|summary|svg|table|tbody|td|textarea|tfoot|thead|th|title|"
    r"track|tr|ul|video|[a-z]{1,9}:[a-z]{1,20}"
)
# "<b and c>" is no tag: an attribute has a value, or is one of those that need none
_ATTRIBUTE = (
    r"\s+(?:[a-z_:@][\w:.@-]*+\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'<>]++)"
    r"|(?:checked|disabled|hidden|selected|controls|autoplay|loop|muted|async|defer|nowrap|noshade|required)\b)"
)
_TAG = re.compile(
    rf"</(?P<end>{_INLINE}|{_BLOCK})\s*>"
    rf"|<(?:(?P<inline>{_INLINE})|(?:{_BLOCK}))\b(?:(?P<bare>\s*+/?>)|(?:{_ATTRIBUTE})++\s*+/?>"
    # cut off in its attributes, at the end of the text
    r"|\s++[a-z:-]++\s*+=[^<>]*+\Z)",
    re.IGNORECASE,
)
_HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<!(?:doctype|\[cdata\[)[^<>]*+>|<\?xml[^<>]*+>"
    r"|<(?P<name>script|style)\b[^<>]*+>.*?(?:</(?P=name)\s*+>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_AMPERSANDS = re.compile(r"&(?:(?:amp|#0*+38|#x0*+26);)++", re.IGNORECASE)
_ENTITY = re.compile(
    r"&(?:#[0-9]{2,7};?|#[xX][0-9a-fA-F]{2,6};?|[a-zA-Z][a-zA-Z0-9]{1,31};|(?:amp|nbsp|quot|lt|gt)(?![\w;=]))"
)
_INLINE_NAME = re.compile(_INLINE, re.IGNORECASE)
_CLOSED = re.compile("</([a-z])>", re.IGNORECASE)
_PASSES = 8


def strip_html(text: str) -> tuple[str, int]:
    """The text without tags and with its entities decoded, and how many of both it had.

    Tags are HTML's own, opened, closed, or cut off at the end: "x < y", "a<b>c", "<3" and "<PERSON>" stay. Those that
    break a line leave a space, the others nothing; comments, scripts and styles go with what is in them. What decoding
    brings to light (`&amp;lt;b&amp;gt;`) is treated again; a text that still changes after eight times is given up: "".
    """
    total = 0
    for _ in range(_PASSES):
        text, found = _once(text)
        if not found:
            return text, total
        total += found
    return "", total


def _once(text: str) -> tuple[str, int]:
    if "<" not in text and "&" not in text:
        return text, 0
    stripped, count = _HIDDEN.subn(" ", text)
    taken = 0
    closed = set(map(str.lower, _CLOSED.findall(stripped)))

    def without(tag: re.Match[str]) -> str:
        nonlocal taken
        if tag["bare"] is not None and tag[0][1].lower() not in closed and _compares(tag, stripped):
            return tag[0]
        taken += 1
        return "" if tag["inline"] or (tag["end"] and _INLINE_NAME.fullmatch(tag["end"])) else " "

    def decoded(entity: re.Match[str]) -> str:
        nonlocal taken
        plain = _character(entity[0].rstrip(";"))
        taken += plain is not None
        return entity[0] if plain is None else plain

    changed = _AMPERSANDS.sub("&amp;", _TAG.sub(without, stripped))
    changed = _ENTITY.sub(decoded, changed)
    count += taken
    return (" ".join(changed.split()), count) if count else (text, 0)


def _character(entity: str) -> str | None:
    """What an entity ("&amp", "&#38") stands for; None where there is none of that name."""
    if entity[1] == "#":
        return html.unescape(f"{entity};")
    return html5.get(f"{entity[1:]};") or html5.get(f"{entity[1:].lower()};")


def _compares(tag: re.Match[str], text: str) -> bool:
    """Whether a bare tag of one letter, "a<b>c", stands between operands: a number, a bracket or a letter alone."""
    if len(tag[0].strip("<>/ \t\n")) > 1:
        return False
    before = text[max(0, tag.start() - 8) : tag.start()].rstrip()[-2:]
    after = text[tag.end() : tag.end() + 8].lstrip()[:1]
    operand = bool(before) and (before[-1].isdigit() or before[-1] in ")]" or not before[:-1].isalnum())
    return operand and (after.isalnum() or after in "(-")


@dataclass(frozen=True)
class Html(Rule):
    """ "Cleaning the text's HTML-tagged part": the number of tags and entities, which are taken out."""

    name: ClassVar[str] = "html"
    bins: ClassVar[tuple[float, ...]] = tuple(float(count) for count in range(17))

    def measure(self, pair: Pair) -> Value:
        text = pair.caption
        if not text or ("<" not in text and "&" not in text):
            return 0
        return strip_html(text)[1]

    def decide(self, pair: Pair, value: Value) -> Verdict:
        if not value or pair.caption is None:
            return None
        plain = strip_html(pair.caption)[0]
        return Change(plain) if plain else Drop("nothing but markup")
