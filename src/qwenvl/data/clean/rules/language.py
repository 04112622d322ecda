"""English or Chinese by the characters of a caption (paper, appendix A.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from qwenvl.data.clean.rule import Value
from qwenvl.data.clean.rules.bounded import Bounded
from qwenvl.data.clean.rules.script import HAN, kind
from qwenvl.data.pair import Pair

# A Greek letter alone is a symbol ("10 kΩ", "α particles"); two in a row are Greek.
_SYMBOL = re.compile("(?<![\u0370-\u03ff])[\u0370-\u03ff](?![\u0370-\u03ff])")
# what nearly all captions are made of, and where accents can be: a quick look before the slow one
_PLAIN = re.compile(f"[ -~{HAN}\u00c0-\u017f，。、！？：；…—–“”‘’（）《》【】·]*+")
_MAYBE_ACCENTED = re.compile("[\u00c0-\u024f\u0300-\u036f\u1e00-\u1eff\u212b]")
_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f'’]+[^\W\d_]*)*")


@dataclass(frozen=True)
class EnglishOrChinese(Bounded):
    """ "Removing pairs with text containing non-English or non-Chinese characters": their share of all characters.

    Spaces do not count. Punctuation, digits, full-width forms, accented Latin letters and single Greek ones belong to
    any text; kana, hangul, Cyrillic and the like, and the remains of broken encodings, are what is measured.
    """

    name: ClassVar[str] = "language"
    too_high: ClassVar[str] = "neither English nor Chinese"
    tuned: ClassVar[Literal["min", "max"]] = "max"
    bins: ClassVar[tuple[float, ...]] = tuple(step / 20 for step in range(21))

    def measure(self, pair: Pair) -> Value:
        text = pair.caption
        if not text or _PLAIN.fullmatch(text):
            return 0.0
        foreign = {character for character in set(text) if kind(character) == "foreign"}
        if foreign:
            text = _SYMBOL.sub("", text)
        count = sum(map(text.count, foreign))
        return count / len("".join(text.split())) if count else 0.0


@dataclass(frozen=True)
class Accents(Bounded):
    """Text in another language of Latin script: the share of words with an accented letter, the first one not counted.

    English has café and Zürich, one or two to a caption; French, Spanish, Vietnamese or Polish far more. Texts of
    Chinese characters are measured alike (pinyin).
    """

    name: ClassVar[str] = "accents"
    too_high: ClassVar[str] = "too many accented words"
    tuned: ClassVar[Literal["min", "max"]] = "max"
    bins: ClassVar[tuple[float, ...]] = tuple(step / 20 for step in range(21))

    def measure(self, pair: Pair) -> Value:
        text = pair.caption
        if not text or text.isascii() or not _MAYBE_ACCENTED.search(text):
            return 0.0
        words = _WORD.findall(text)
        accented = sum(any(kind(character) == "accented" for character in word) for word in words)
        return max(0, accented - 1) / len(words) if accented else 0.0
