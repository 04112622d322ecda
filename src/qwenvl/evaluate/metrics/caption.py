"""What a caption names: the (colour, kind) pairs in a text, English or Chinese, and their recall."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_QUOTED = re.compile(r'"[^"]*"|“[^”]*”')

Pair = tuple[str, str]
"""(colour, kind); an empty string where the text says none."""


@dataclass(frozen=True)
class Vocabulary:
    """The words for colours, kinds and counts: canonical name → every way in which a text may spell it, in any
    language.
    """

    colours: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Sequence[str]]
    counts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _meaning: dict[str, tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        meaning: dict[str, tuple[str, str]] = {}
        counts = {str(count): words for count, words in self.counts.items()}
        for role, names in (("colour", self.colours), ("kind", self.kinds), ("count", counts)):
            for name, spellings in names.items():
                for spelling in spellings:
                    meaning[spelling.casefold()] = (role, name)
        # The longest spelling wins; Latin words match whole; Chinese has no word boundaries.
        ordered = sorted(meaning, key=len, reverse=True)
        alternatives = (rf"(?<![a-z0-9]){re.escape(s)}(?![a-z0-9])" if s.isascii() else re.escape(s) for s in ordered)
        object.__setattr__(self, "_pattern", re.compile("|".join(alternatives)))
        object.__setattr__(self, "_meaning", meaning)

    def pairs(self, text: str) -> list[Pair]:
        """The (colour, kind) pairs that `text` names, in order, as often as it says: "two red stars" are two.

        A kind takes the last colour and count said since the kind before it; a colour without a kind after it is no
        pair. In both languages attributes stand before the noun, so this reads "a small red star and a blue circle"
        and "一个红色的星星" alike. What stands in quotation marks is the text of a sign and names nothing.
        """
        found: list[Pair] = []
        colour, count = "", 1
        for match in self._pattern.finditer(_QUOTED.sub(" ", text.casefold())):
            role, name = self._meaning[match[0]]
            if role == "colour":
                colour = name
            elif role == "count":
                count = int(name)
            else:
                found += [(colour, name)] * count
                colour, count = "", 1
        return found

    def same(self, phrase: str, other: str) -> bool:
        """Whether two phrases name the same colour and kind first; where neither names any, their plain words must be
        equal.
        """
        mine, theirs = self.pairs(phrase), self.pairs(other)
        if not mine and not theirs:
            return " ".join(phrase.casefold().split()) == " ".join(other.casefold().split())
        return bool(mine) and bool(theirs) and mine[0] == theirs[0]


def attribute_recall(caption: str, truth: Iterable[Pair], vocabulary: Vocabulary) -> tuple[int, int]:
    """(named, all): how many of the objects' (colour, kind) pairs the caption names; of two red stars, "a red star"
    names one.
    """
    wanted, said = Counter(truth), Counter(vocabulary.pairs(caption))
    return sum((wanted & said).values()), sum(wanted.values())
