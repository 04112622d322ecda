"""Emoji in captions (paper, appendix A.1): Unicode 17's, and above U+1F300 whole blocks, for those to come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from qwenvl.data.clean.rule import Value
from qwenvl.data.clean.rules.bounded import Bounded
from qwenvl.data.pair import Pair

_PICTURES = (
    r"\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2600-\u2604\u260e\u2611\u2614\u2615\u2618\u261d\u2620"
    r"\u2622\u2623\u2626\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660\u2663\u2665\u2666"
    r"\u2668\u267b\u267e\u267f\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd"
    r"\u26be\u26c4\u26c5\u26c8\u26ce\u26cf\u26d1\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702"
    r"\u2705\u2708-\u270d\u270f\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e"
    r"\u2753-\u2755\u2757\u2763\u2764\u2795-\u2797\u27a1\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55"
    r"\U0001f004\U0001f0cf\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a"
    r"\U0001f201\U0001f202\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f250\U0001f251"
    r"\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb\U0001f7f0\U0001f90c-\U0001f9ff"
    r"\U0001fa70-\U0001faff"
)
"""Shown as pictures by themselves, with all emoji of the blocks Miscellaneous Symbols and Dingbats (☀ ✔ ❤)."""

_SIGNS = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u2328\u23cf\u23ed-\u23ef\u23f1\u23f2"
    r"\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb\u25fc\u2934\u2935\u2b05-\u2b07\u3030\u303d\u3297\u3299"
)
"""Signs such as © ™ ▶ ㊗, which are emoji only where U+FE0F asks for the picture."""

_TAIL = r"(?:\ufe0f|[\U0001f3fb-\U0001f3ff]|[\U000e0020-\U000e007f]|\u20e3)*"
_ONE = rf"(?:[{_PICTURES}](?!\ufe0e)|[{_SIGNS}]\ufe0f){_TAIL}"
_EMOJI = re.compile(rf"[\U0001f1e6-\U0001f1ff]{{1,2}}|[0-9#*]\ufe0f?\u20e3|{_ONE}(?:\u200d(?:{_ONE}|[{_SIGNS}]))*")

_MAYBE = re.compile("[\u20e3\u231a-\u2bff\ufe0f\U0001f000-\U0001faff]")


def count_emoji(text: str) -> int:
    """How many emoji a text has; a sequence (flag, keycap, skin tone, family) is one.

    Digits, © and other signs count only as the sequences that show them as pictures; U+FE0E (shown as text) is heeded.
    """
    if text.isascii() or not _MAYBE.search(text):
        return 0
    return sum(1 for _ in _EMOJI.finditer(text))


@dataclass(frozen=True)
class Emoji(Bounded):
    """ "Removing pairs with text containing emoji characters": their number in the caption."""

    name: ClassVar[str] = "emoji"
    too_high: ClassVar[str] = "emoji"
    tuned: ClassVar[Literal["min", "max"]] = "max"
    bins: ClassVar[tuple[float, ...]] = tuple(float(count) for count in range(17))

    def measure(self, pair: Pair) -> Value:
        return count_emoji(pair.caption) if pair.caption else 0
