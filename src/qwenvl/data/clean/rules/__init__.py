"""The rules by their names in recipes."""

from __future__ import annotations

from qwenvl.data.clean.rule import Rule, SetRule
from qwenvl.data.clean.rules.blocked_domains import BlockedDomains
from qwenvl.data.clean.rules.clip_score import ClipScore
from qwenvl.data.clean.rules.columns import Nsfw, Watermark
from qwenvl.data.clean.rules.emoji import Emoji
from qwenvl.data.clean.rules.exact_duplicates import ExactDuplicates
from qwenvl.data.clean.rules.html import Html
from qwenvl.data.clean.rules.language import Accents, EnglishOrChinese
from qwenvl.data.clean.rules.length import HanCharacters, Words
from qwenvl.data.clean.rules.longest_caption import LongestCaption
from qwenvl.data.clean.rules.near_duplicates import NearDuplicates
from qwenvl.data.clean.rules.patterns import Patterns
from qwenvl.data.clean.rules.picture import AspectRatio, Decodable, Size
from qwenvl.data.clean.rules.special_tags import SpecialTags

RULES: dict[str, type[Rule] | type[SetRule]] = {
    rule.name: rule
    for rule in (
        AspectRatio,
        Size,
        Decodable,
        BlockedDomains,
        Nsfw,
        Watermark,
        Html,
        Patterns,
        SpecialTags,
        EnglishOrChinese,
        Accents,
        Emoji,
        Words,
        HanCharacters,
        ClipScore,
        LongestCaption,
        ExactDuplicates,
        NearDuplicates,
    )
}
