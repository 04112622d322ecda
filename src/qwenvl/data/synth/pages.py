"""What pictures of web pages and of PDF pages share: why one is not used, and the opened program behind them."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class PageError(ValueError):
    """A document or a page that is not used; `why` is short enough to count by."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Closable(Protocol):
    """What is closed when it is needed no more."""

    def close(self) -> None:
        """Ends it."""
        ...


T = TypeVar("T", bound=Closable)


class Kept(Generic[T]):
    """A worker's browser or reader: it is kept from unit to unit, as starting one takes as long as some pages.

    Another one is opened where other settings are asked for; the last one is closed when the process ends.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._opened: T | None = None
        atexit.register(self.close)

    def get(self, key: Hashable, open_one: Callable[[], T]) -> T:
        """The one of these settings, `key`."""
        if self._opened is None or key != self._key:
            self.close()
            self._opened, self._key = open_one(), key
        return self._opened

    def close(self) -> None:
        """Close the one that is open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
