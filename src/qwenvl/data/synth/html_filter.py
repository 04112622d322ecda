"""Which pages are kept: the paper's filters of HTML pages (appendix A; DESIGN §8), each with a name to count by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qwenvl.data.clean.rules.script import kind
from qwenvl.data.synth.html_browser import Shot
from qwenvl.data.synth.pages import PageError
from qwenvl.sample import TextLine


@dataclass(frozen=True, slots=True)
class HtmlLimits:
    """What pages are kept. The paper names the filters, not their thresholds.

    `max_bytes` of a page's source; `min_side` in pixels and `max_ratio`, the longer side by the shorter, of a picture;
    `min_text` and `max_text` characters in a picture; `min_height` in pixels of a line; `foreign`, the largest share of
    characters that are neither English nor Chinese.
    """

    max_bytes: int = 2_000_000
    min_side: int = 200
    max_ratio: float = 3.0
    min_text: int = 20
    max_text: int = 10_000
    min_height: float = 10.0
    foreign: float = 0.02

    def settings(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def check_source(text: str) -> None:
    """Raise PageError where a page's source needs no browser to be left out."""
    if "<" not in text:
        raise PageError("no HTML")
    if text.count("\ufffd") > 0.001 * len(text):
        raise PageError("damaged text: its encoding is not known")


def check_shot(shot: Shot, width: int, height: int, lines: Sequence[TextLine], limits: HtmlLimits) -> None:
    """Raise PageError for the filter that the picture of `width` by `height` pixels with these lines does not pass."""
    if shot.full:
        raise PageError("too many pieces of text in the window")
    text = "".join(line.text for line in lines)
    if shot.letters < limits.min_text or len(text) < limits.min_text:
        raise PageError("too little text")
    if len(text) > limits.max_text:
        raise PageError("too much text")
    if min(width, height) < limits.min_side:
        raise PageError("picture too small")
    if max(width, height) > limits.max_ratio * min(width, height):
        raise PageError("picture too long")
    check_text(text, limits)
    # marks alone, such as dashes, are as high as letters here: a line's box is that of its font
    if any(line.quad.points[3][1] - line.quad.points[0][1] < limits.min_height for line in lines):
        raise PageError("text too small to read")


def check_text(text: str, limits: HtmlLimits) -> None:
    """Raise PageError where a text has characters without a meaning, or is neither English nor Chinese."""
    counts = Counter(text)
    odd = {character: count for character, count in counts.items() if kind(character) == "foreign"}
    if any("\ue000" <= character <= "\uf8ff" or character >= "\U000f0000" for character in odd):
        raise PageError("private-use characters")
    if any(character == "\ufffd" or character < " " or "\x7f" <= character < "\xa0" for character in odd):
        raise PageError("characters without a meaning")
    if sum(odd.values()) > limits.foreign * len(text):
        raise PageError("neither English nor Chinese")
