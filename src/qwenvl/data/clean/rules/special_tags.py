"""Placeholders that data sets put in the place of words (paper, appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwenvl.data.clean.rule import Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class SpecialTags(Rule):
    """ "We remove pairs whose text contains the special tags in CC12M and SBU": the first of `tags` in the caption.

    Upper and lower case are the same. CC12M's is <PERSON>, put for names. The paper does not say which SBU's are: the
    others are placeholders that copies of these sets have had.
    """

    name: ClassVar[str] = "special_tags"

    tags: tuple[str, ...] = ("<person>", "[person]", "<name>", "<location>", "<url>", "<unk>", "[unk]")

    def measure(self, pair: Pair) -> Value:
        text = pair.caption
        if not text or not ("<" in text or "[" in text or self.tags is not SpecialTags.tags):
            return ""
        text = text.lower()
        return next((tag for tag in self.tags if tag.lower() in text), "")

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return Drop("special tag") if value else None
