"""How far a run is, on one line: units, amount, speed, time left."""

from __future__ import annotations

import sys
import time

_TERMINAL, _FILE = 0.5, 30.0
"""Seconds between lines: a terminal's line is written over, a file's are kept."""


class Progress:
    """Prints to stderr, nothing with `quiet`. `noun` names what the amounts count ("pairs")."""

    def __init__(self, title: str, units: int, before: int, noun: str, quiet: bool) -> None:
        self._title, self._units, self._before, self._noun, self._quiet = title, units, before, noun, quiet
        self._begin = time.monotonic()
        self._next = self._begin
        self._terminal = sys.stderr.isatty()
        self._written = False
        self._shown = 0
        self.done = self.amount = 0

    def step(self, amount: int) -> None:
        """A unit is done."""
        self.done += 1
        self.amount += amount

    def show(self) -> None:
        """Print the line if it is time to."""
        now = time.monotonic()
        if self._quiet or now < self._next:
            return
        self._next = now + (_TERMINAL if self._terminal else _FILE)
        if self.done or self._terminal:
            self._print(self.line(now - self._begin))

    def end(self) -> None:
        """The last line."""
        if not self._quiet and (self._terminal or self._shown < self.done):
            self._print(self.line(time.monotonic() - self._begin))
            self._clear()

    def line(self, seconds: float) -> str:
        """The state after so many seconds."""
        parts = [f"{self._title}: {self._before + self.done:,} of {self._units:,} units"]
        if self.done:
            speed = self.amount / max(seconds, 1e-9)
            parts.append(f"{self.amount:,} {self._noun}")
            parts.append(f"{speed:,.0f} a second" if speed >= 10 else f"{speed:.2g} a second")
            left = self._units - self._before - self.done
            parts.append(f"{duration(seconds / self.done * left)} left" if left else f"in {duration(seconds)}")
        return ", ".join(parts)

    def _print(self, line: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{line}")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._written, self._shown = True, self.done

    def _clear(self) -> None:
        if self._terminal and self._written:
            sys.stderr.write("\n")
            self._written = False


def duration(seconds: float) -> str:
    """ "12 s", "3 min 20 s", "5 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
