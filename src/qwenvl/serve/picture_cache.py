"""Pictures' embeddings by content: a second question about a picture does not run the ViT."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor


class PictureCache:
    """Keeps the embeddings used last, `capacity` bytes at most. Not for several threads at once."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = self.hits = self.misses = 0
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        """The embeddings of the picture `key`, if they are held."""
        found = self._held.get(key)
        if found is not None:
            self.hits += 1
            self._held.move_to_end(key)
        return found

    def put(self, key: str, made: Tensor) -> None:
        """Hold what had to be made. What is larger than all the room is not held."""
        self.misses += 1
        size = made.numel() * made.element_size()
        if size <= self.capacity:
            while self.size + size > self.capacity:
                _, old = self._held.popitem(last=False)
                self.size -= old.numel() * old.element_size()
            self._held[key] = made
            self.size += size
