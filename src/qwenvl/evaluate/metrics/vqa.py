"""Answers to questions: exact match after normalisation, the same rule for English and Chinese."""

from __future__ import annotations

import re
import unicodedata

_NUMBERS = {
    word: str(value)
    for value, words in enumerate(
        [
            "zero 零",
            "one 一",
            "two 二 两",
            "three 三",
            "four 四",
            "five 五",
            "six 六",
            "seven 七",
            "eight 八",
            "nine 九",
            "ten 十",
        ]
    )
    for word in words.split()
}
_COUNTED = re.compile(r"(\d+)[个只件块]")


def normalise(answer: str) -> str:
    """Fold case, width, punctuation, articles, counting words and number words: " A  Red star." and "red star" agree.

    NFKC makes full-width forms plain. Punctuation becomes a space, except between digits ("3.5" stays). A Chinese
    numeral is folded only when it stands alone or before a measure word, so that "三角形" keeps its name.
    """
    text = unicodedata.normalize("NFKC", answer).casefold()
    kept = []
    for i, char in enumerate(text):
        between_digits = 0 < i < len(text) - 1 and text[i - 1].isdigit() and text[i + 1].isdigit()
        punctuation = unicodedata.category(char)[0] in "PZC"
        kept.append(" " if punctuation and not (between_digits and char in ".,:") else char)
    text = re.sub(r"([零一二两三四五六七八九十])(?=[个只件块])", lambda m: _NUMBERS[m[1]], "".join(kept))
    text = _COUNTED.sub(r"\1", text)
    words = [_NUMBERS.get(word, word) for word in text.split() if word not in ("a", "an", "the")]
    return " ".join(words)


def exact_match(answer: str, truth: str) -> bool:
    """Whether two answers agree after `normalise`. An empty answer never agrees."""
    return bool(normalise(answer)) and normalise(answer) == normalise(truth)
