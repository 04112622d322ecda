"""What is wrong with a user's data: counted, shown by file, line and field, and skipped, or the end of the run
(`strict`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_MESSAGES = 50


class DataError(ValueError):
    """Data can not be used; the message is one line for people: file, line, field, what is wrong and what would be
    right.
    """


class Spot(NamedTuple):
    """Where a row begins: its line, from 1, and in a list the number of the row, from 1."""

    line: int
    row: int | None = None


class RowError(ValueError):
    """One row can not be used: `field` says where in the row, the message what is wrong. Readers report it."""

    def __init__(self, field: str, reason: str) -> None:
        # half a surrogate pair in a quoted value could not be printed
        reason = reason.encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason = field, reason


@dataclass
class BadRows:
    """Rows that were skipped: how many, their first messages, and how often each field was at fault.

    `show` is called with each of the first `KEPT_MESSAGES` messages as they come (such as `print` or a progress bar's
    `write`). `good` counts the records that were read.
    """

    show: Callable[[str], None] | None = None
    count: int = 0
    good: int = 0
    first: str = ""
    messages: list[str] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)
    _noted: set[str] = field(default_factory=set)

    def add(self, file: str, spot: Spot, where: str, reason: str) -> None:
        """Count one skipped row."""
        self.count += 1
        self.fields[where or "line"] += 1
        message = f"{place(file, spot)}: {where + ': ' if where else ''}{reason}"
        self.first = self.first or message
        self._keep(message)

    def note(self, file: str, spot: Spot, what: str) -> None:
        """Say something once that does not cost the row, such as a field nobody knows."""
        if what not in self._noted:
            self._noted.add(what)
            self._keep(f"{place(file, spot)}: note: {what}")

    def summary(self) -> str:
        """One line: how many rows were read and skipped, and what most were skipped for."""
        if not self.count:
            return f"{self.good:,} rows read, none skipped"
        worst = ", ".join(f"{name} {times:,}" for name, times in self.fields.most_common(4))
        return f"{self.good:,} rows read, {self.count:,} skipped ({worst})"

    def _keep(self, message: str) -> None:
        if len(self.messages) < KEPT_MESSAGES:
            self.messages.append(message)
            if self.show is not None:
                self.show(message)


def place(file: str, spot: Spot) -> str:
    """ "file:line", as editors and terminals understand it; in a list also which row, as many may share a line, and in
    a table, which has no lines (0), the row alone.
    """
    return (f"{file}:{spot.line}" if spot.line else file) + (f" (row {spot.row})" if spot.row else "")
