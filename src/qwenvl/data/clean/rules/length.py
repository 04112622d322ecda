"""How long a caption is: in words (English) or characters (Chinese); paper, appendix A.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwenvl.data.clean.rule import Drop, Value, Verdict
from qwenvl.data.clean.rules.bounded import Bounded
from qwenvl.data.clean.rules.script import count_han, language_of
from qwenvl.data.pair import Pair


class _Length(Bounded):
    """Removes what has no caption too. None is measured of captions in the other language, which stay."""

    too_low: ClassVar[str] = "text too short"
    too_high: ClassVar[str] = "text too long"

    def decide(self, pair: Pair, value: Value) -> Verdict:
        if not pair.caption or pair.caption.isspace():
            return Drop("no caption")
        return super().decide(pair, value)


@dataclass(frozen=True)
class Words(_Length):
    """ "Removing pairs with text length too short or too long": words between spaces of captions that are not Chinese.

    A word has at least one letter or digit, so a lone dash is none.
    """

    name: ClassVar[str] = "words"
    bins: ClassVar[tuple[float, ...]] = tuple(float(count) for count in range(0, 129, 2))

    def measure(self, pair: Pair) -> Value:
        text = pair.caption or ""
        if language_of(text) == "zh":
            return None
        # most words are letters alone: the slow look at each character is for the rest
        return sum(word.isalnum() or any(map(str.isalnum, word)) for word in text.split())


@dataclass(frozen=True)
class HanCharacters(_Length):
    """ "Removing pairs with text length too short or too long": Chinese characters of Chinese captions."""

    name: ClassVar[str] = "characters"
    bins: ClassVar[tuple[float, ...]] = tuple(float(count) for count in range(0, 257, 4))

    def measure(self, pair: Pair) -> Value:
        text = pair.caption or ""
        return count_han(text) if language_of(text) == "zh" else None
