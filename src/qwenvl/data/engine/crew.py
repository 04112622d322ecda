"""What a run needs of those who do the work."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T", contravariant=True)


class Report(NamedTuple):
    """How a unit went: its number and the amount that was done, or the error that it failed with."""

    number: int
    result: int | Exception


class Crew(Protocol[T]):
    """Workers, here or elsewhere, that do one unit at a time each."""

    @property
    def size(self) -> int:
        """How many units may be under way at once; may change while nodes come and go."""

    def give(self, number: int, unit: T) -> None:
        """Start a unit. Called with fewer than `size` under way."""

    def wait(self, seconds: float) -> list[Report]:
        """What ended, after at most so long. A worker that died is a report with an error."""

    def close(self, at_once: bool) -> None:
        """End all workers; `at_once` in the midst of their units."""
