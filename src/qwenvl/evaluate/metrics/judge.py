"""Reading a judge's reply: two scores for two assistants, as TouchStone asks for them."""

from __future__ import annotations

import re
from typing import NamedTuple

LOWEST, HIGHEST = 1.0, 10.0
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w%]|\.\d)")
_PAIR = re.compile(r"\W*(\d+(?:\.\d+)?)\s*(?:/\s*10)?[\s,;/|&]+(?:and\s+)?(\d+(?:\.\d+)?)\s*(?:/\s*10)?\W*")


class Verdict(NamedTuple):
    """The scores of the first and of the second assistant, 0…10."""

    first: float
    second: float


def parse_judge(reply: str) -> Verdict | None:
    """The two scores in a judge's reply, or None where it can not be read: count and show those, never take them for 0.

    TouchStone's prompt (arXiv 2308.16890) asks for a first line with nothing but two numbers; the first line of that
    form is taken, so also one after a preface. Else a line that names both assistants' scores ("Assistant 1: 8,
    Assistant 2: 7.5"), or two lines that name one each. A score below 1 or above 10 is none, and so are two
    for one assistant.
    """
    lines = [line.strip()[:2000] for line in reply[:20_000].splitlines() if line.strip()]
    for line in lines:
        match = _PAIR.fullmatch(line)
        if match:
            return _verdict(match[1], match[2])
    named: dict[str, str] = {}
    for line in lines:
        for part in re.split(r"(?=assistant\s*[12AB]\b)", line, flags=re.IGNORECASE):
            who = re.match(r"assistant\s*([12AB])\b(.*)", part, flags=re.IGNORECASE)
            number = _NUMBER.search(who[2]) if who else None
            if who and number:
                which = {"a": "1", "b": "2"}.get(who[1].lower(), who[1])
                if named.setdefault(which, number[0]) != number[0]:
                    return None  # says two things of one answer
    return _verdict(named["1"], named["2"]) if {"1", "2"} <= named.keys() else None


def _verdict(first: str, second: str) -> Verdict | None:
    scores = Verdict(float(first), float(second))
    return scores if all(LOWEST <= score <= HIGHEST for score in scores) else None
