"""What a judge's reply says: two scores, for the first and the second answer (TouchStone, arXiv 2308.16890)."""

from __future__ import annotations

import re

LOWEST, HIGHEST = 1.0, 10.0

_NUMBER = r"(\d{1,3}(?:\.\d{1,4})?)(?:\s*/\s*10\b)?"
_BARE = re.compile(rf"[\W_]*{_NUMBER}[\s,;:|/&*]+(?:and\s+)?{_NUMBER}[\W_]*", re.IGNORECASE)
_NAMED = re.compile(rf"assistant\s*([12])\b[^\d\n]{{0,30}}?{_NUMBER}(?!\d)", re.IGNORECASE)


def parse_judge(reply: str) -> tuple[float, float] | None:
    """The scores of the first and the second answer, each 1…10; None where the reply gives no such two.

    The first line with anything in it must be the two numbers and nothing else ("8 9", "8, 9", "**8/10 9/10**"), as
    TouchStone's evaluation asks for; or the reply names both ("Assistant 1: 8", "Assistant 2: 9"). A number elsewhere
    in an explanation is never taken for a score.
    """
    lines = [line for line in reply[:20_000].splitlines() if line.strip()]
    if not lines:
        return None
    bare = _BARE.fullmatch(lines[0][:200])
    if bare is not None:
        return _within(float(bare[1]), float(bare[2]))
    named: dict[str, float] = {}
    for line in lines:
        for which, number in _NAMED.findall(line[:2000]):
            if named.setdefault(which, float(number)) != float(number):
                return None  # says two things of one answer
    return _within(named["1"], named["2"]) if len(named) == 2 else None


def _within(one: float, other: float) -> tuple[float, float] | None:
    return (one, other) if all(LOWEST <= score <= HIGHEST for score in (one, other)) else None
