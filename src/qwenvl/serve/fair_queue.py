"""A queue in which clients take turns: one that asks a hundred things delays another by one of them at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First come, first served for each client; the clients in turn. Not for several threads at once."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, client: str, item: T) -> None:
        """Queue an item behind those of the same client."""
        self._lines.setdefault(client, deque()).append(item)

    def take(self) -> T:
        """The item whose turn it is. Raises IndexError when there is none."""
        if not self._lines:
            raise IndexError("the queue is empty")
        client, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[client] = line  # behind all others
        return item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out all items of a kind, wherever they stand."""
        removed: list[T] = []
        for client, line in list(self._lines.items()):
            chosen = [item for item in line if unwanted(item)]
            if chosen:
                removed += chosen
                kept = deque(item for item in line if not any(item is one for one in chosen))
                if kept:
                    self._lines[client] = kept
                else:
                    del self._lines[client]
        return removed
