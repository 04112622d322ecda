"""Rules of a user's own, named in recipes by their import path, with the faults that such rules have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from qwenvl.data.clean.rule import Change, Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class Slow(Rule):
    """Takes its time."""

    name: ClassVar[str] = "slow"
    seconds: float = 0.01

    def measure(self, pair: Pair) -> Value:
        time.sleep(self.seconds)
        return len(pair.image)

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None


@dataclass(frozen=True)
class Deadly(Rule):
    """Kills its worker at some pairs, once each: a file in `folder` remembers."""

    folder: str
    every: int = 17
    name: ClassVar[str] = "deadly"

    def measure(self, pair: Pair) -> Value:
        number = int(pair.id.rpartition("/")[2])
        mark = Path(self.folder) / str(number)
        if number % self.every == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return None

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None


class Naive(Rule):
    """Ten lines, no thought of captions that are not there."""

    name = "naive"

    def measure(self, pair: Pair) -> Value:
        return len(pair.caption)  # type: ignore[arg-type]

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return Drop("long") if value > 40 else None  # type: ignore[operator]


class NaiveBatch(Naive):
    """Measures all at once, or nothing."""

    name = "naive_batch"

    def measure_all(self, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
        return [self.measure(pair) for pair in pairs]


class Faulty(Rule):
    """Never works."""

    name = "faulty"

    def measure(self, pair: Pair) -> Value:
        return pair.sise  # type: ignore[attr-defined,no-any-return]

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None


class Shouting(Rule):
    """Changes captions, and measures numbers that are none."""

    name = "shouting"

    def measure(self, pair: Pair) -> Value:
        return float("inf")

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return Change((pair.caption or "").upper())


class Full(Rule):
    """Says that the disk is full."""

    name = "full"

    def measure(self, pair: Pair) -> Value:
        return True

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None

    def measure_all(self, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
        raise OSError(28, "No space left on device")
