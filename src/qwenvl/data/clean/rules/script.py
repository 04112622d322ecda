"""In which script a text is written: what counts as English or Chinese, character by character."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from qwenvl.sample import Language

Kind = Literal["neutral", "english", "accented", "chinese", "foreign"]

HAN = "\u3005-\u3007\u3105-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Chinese characters as a regular expression's class, with 々 〇 and bopomofo."""

_HAN = re.compile(f"[{HAN}]")
_LATIN = re.compile("[A-Za-z\uff21-\uff3a\uff41-\uff5a]")
_EMOJI_MARKS = "\u20e3" + "".join(map(chr, range(0xFE00, 0xFE10)))
_UNITS = "\u00b5\u2126"  # micro, ohm
_ELSEWHERE = ("KATAKANA", "HIRAGANA", "HANGUL")


def language_of(text: str) -> Language:
    """ "zh" where a text has at least one Chinese character for every five Latin letters (a word), else "en"."""
    if text.isascii():
        return "en"
    chinese = len(_HAN.findall(text))
    return "zh" if chinese and chinese * 5 >= len(_LATIN.findall(text)) else "en"


def count_han(text: str) -> int:
    """How many Chinese characters a text has."""
    return 0 if text.isascii() else len(_HAN.findall(text))


@lru_cache(1 << 16)
def kind(character: str) -> Kind:
    """To which script one character belongs.

    "neutral" are digits, punctuation, symbols and spaces, whose emoji are another rule's; "english" also the
    full-width, styled (𝐀) and ligature (ﬁ) forms of A to Z; "accented" Latin letters as in café, Zürich, Ærø; "chinese"
    Han and bopomofo. The rest is "foreign": other scripts with their marks and digits (so kana and hangul), private
    use, control characters and U+FFFD, which only broken texts have.
    """
    if character.isascii():
        if character.isalpha():
            return "english"
        return "neutral" if character.isprintable() or character.isspace() else "foreign"
    if character.isspace():
        return "neutral"
    if _HAN.match(character):
        return "chinese"
    category = unicodedata.category(character)
    if category in ("Co", "Cn", "Cs", "Cc") or character == "\ufffd":
        return "foreign"
    if category.startswith("L"):
        return _letter(character)
    if category.startswith("M"):
        if character <= "\u036f":
            return "accented"
        return "neutral" if character in _EMOJI_MARKS else "foreign"
    if category == "Nd" and not unicodedata.normalize("NFKC", character).isascii():
        return "foreign"
    # signs such as ㋐; the middle dot ・ is punctuation, which Chinese has too
    name = "" if category.startswith("P") else unicodedata.name(character, "")
    return "foreign" if any(script in name for script in _ELSEWHERE) else "neutral"


def _letter(character: str) -> Kind:
    if character in _UNITS:
        return "neutral"
    if unicodedata.normalize("NFKC", character).isascii():
        return "english"
    if character <= "\u017f" or unicodedata.normalize("NFD", character)[0].isascii():
        return "accented"
    return "foreign"
