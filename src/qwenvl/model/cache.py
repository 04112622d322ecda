"""The cache of keys and values while decoding: room is kept for the next tokens, so that a step copies only its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 64
"""The least number of positions that are made room for at once."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (B, H, S, D) each: the library's layer, but written in place into a larger buffer.

    The library's own concatenates, which copies everything seen so far at every token: for 16 answers of some hundred
    tokens that is more memory traffic than the weights. The buffer is a quarter larger than what it had to hold.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys: Tensor | None
        self.values: Tensor | None
        self._buffers: tuple[Tensor, Tensor] | None = None
        self._views: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append (B, H, L, D) of keys and of values; returns all of them, (B, H, S + L, D)."""
        if torch.is_grad_enabled() and (
            key_states.requires_grad or (self.keys is not None and self.keys.requires_grad)
        ):
            return super().update(key_states, value_states, *args, **kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        seen, new = self.get_seq_length(), key_states.shape[-2]
        if not self._has_room(seen + new):
            # What others made of the tensors (beams re-ordered, tokens taken back) is as large as it will stay.
            grows = self.keys is None or self._views is None or self.keys is self._views[0]
            self._grow(key_states, value_states, seen, seen + new + (max(_ROOM, (seen + new) // 4) if grows else 0))
        assert self._buffers is not None
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer.narrow(-2, seen, new).copy_(states)
        self.keys, self.values = (buffer.narrow(-2, 0, seen + new) for buffer in self._buffers)
        self._views = (self.keys, self.values)
        return self.keys, self.values

    def _has_room(self, length: int) -> bool:
        """Whether the buffers still hold what `keys` and `values` show, and `length` positions fit."""
        if self._buffers is None or self._views is None or self._buffers[0].shape[-2] < length:
            return False
        if self._buffers[0].is_inference() and not torch.is_inference_mode_enabled():
            return False
        return self.keys is self._views[0] and self.values is self._views[1]

    def _grow(self, key_states: Tensor, value_states: Tensor, seen: int, capacity: int) -> None:
        """New buffers of `capacity` positions that begin with the `seen` ones."""
        buffers = [s.new_empty(*s.shape[:-2], capacity, s.shape[-1]) for s in (key_states, value_states)]
        for buffer, states in zip(buffers, (self.keys, self.values), strict=True):
            if seen and states is not None:
                buffer.narrow(-2, 0, seen).copy_(states)
        self._buffers = (buffers[0], buffers[1])

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._buffers = self._views = None


def with_room(cache: Cache) -> Cache:
    """The same cache, its plain growing layers replaced by `GrowingLayer`; it must be empty. Others are left alone."""
    if not cache.offloading:
        cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        if cache.layer_class_to_replicate is DynamicLayer:
            cache.layer_class_to_replicate = GrowingLayer
    return cache
