"""The wish that a run shall save and end: SIGTERM, Ctrl-C, or the end of the process that started it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Set by SIGTERM (a terminal's Ctrl-C comes as one), or when the process that started this one is gone."""

    def __init__(self, parent: int | None = None) -> None:
        self._asked, self._parent = False, parent

    @property
    def asked(self) -> bool:
        """Whether the run shall save and end."""
        return self._asked or (self._parent is not None and os.getppid() != self._parent)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self._asked = True


@contextmanager
def stopping(parent: int | None = None) -> Iterator[Stop]:
    """Catch SIGTERM while stages train; `parent` is the process whose end is a wish to stop too."""
    stop = Stop(parent)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
