"""What watches a run: losses that jump, ranks that wait for their data, and steps that do not end."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType

WINDOW = 100
"""Steps that a loss is compared with."""

LEAST = 30
"""Steps after which there is something to compare with."""


class SpikeGuard:
    """Says which losses jump out of those before them.

    A spike is more than 8 standard deviations (estimated by the median absolute deviation, which spikes themselves do
    not move) and more than half the median above the median of the last `WINDOW` losses. Its state is `recent`: a run
    that goes on with it judges as one that was never interrupted.
    """

    def __init__(self, recent: Iterable[float] = ()) -> None:
        self._recent = deque(recent, WINDOW)

    @property
    def recent(self) -> list[float]:
        """The losses that the next one is compared with."""
        return list(self._recent)

    def spikes(self, loss: float) -> bool:
        """Whether `loss` is a spike; if not, later ones are compared with it too."""
        if len(self._recent) >= LEAST:
            middle = statistics.median(self._recent)
            spread = 1.4826 * statistics.median(abs(one - middle) for one in self._recent)
            if loss > middle + max(8 * spread, 0.5 * abs(middle)):
                return True
        self._recent.append(loss)
        return False

    def describe(self, loss: float) -> str:
        """For people: how far out the loss is."""
        return f"the loss is {loss:.4g} after a median of {statistics.median(self._recent):.4g}"


SLOW = 0.2
"""The share of its time that a rank may wait for data longer than the others' median, before it is named."""


def stragglers(waits: Sequence[float]) -> list[int]:
    """The ranks that waited for their data much longer than most; `waits` are shares of the time, by rank."""
    if len(waits) < 2:
        return []
    middle = statistics.median_low(waits)
    return [rank for rank, share in enumerate(waits) if share > middle + SLOW]


class Watch:
    """Says on stderr where this rank stands when nothing has moved for `seconds`: the others' words say who is waited
    for. A context around a stage's steps; `at` marks what begins now.
    """

    def __init__(self, rank: int, seconds: float = 300.0) -> None:
        self._rank, self._seconds = rank, seconds
        self._what, self._since = "starting", time.monotonic()
        self._told = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwenvl-watch", daemon=True)

    def at(self, what: str) -> None:
        """Something begins."""
        self._what, self._since = what, time.monotonic()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(1.0, self._seconds / 4)):
            what, since = self._what, self._since
            if time.monotonic() - since > self._seconds and since != self._told:
                self._told = since
                print(f"rank {self._rank}: {what} for {self._seconds:.0f} s", file=sys.stderr, flush=True)
