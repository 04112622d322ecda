"""Keys and values of many answers at once: a row each, of one length, in memory that is taken before the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.cache_utils import Cache


class RowCache(Cache):  # type: ignore[misc]
    """A cache of `rows` answers of at most `context` tokens, for any decoder whose layers all attend to everything.

    Before a pass `aim` says which rows take part and how far each one is. The rows stand side by side, so that a pass
    reads them where they lie; `swap` and `copy` bring them there.
    """

    def __init__(
        self, config: PretrainedConfig, rows: int, context: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(layers=[])
        layers, heads, width = _shape(config)
        # one row is one piece of memory in each layer: a pass over some rows needs no copy
        self.keys, self.values = (
            # written at once: an operating system gives memory that was only asked for when it is too late to refuse it
            torch.empty(layers, rows, heads, context, width, dtype=dtype, device=device).zero_()
            for _ in range(2)
        )
        self.aim(0, [0], 1)

    @staticmethod
    def bytes_per_row(config: PretrainedConfig, context: int, dtype: torch.dtype) -> int:
        """What one row takes."""
        _shape(config)
        return row_bytes(config, context, dtype)

    def aim(self, first: int, seen: Sequence[int], new: int) -> Tensor:
        """The next pass is over rows `first`, `first` + 1 …, which hold `seen` tokens each, with `new` tokens each.

        Returns the positions (rows, new) of the new tokens.
        """
        device = self.keys.device
        self._rows = slice(first, first + len(seen))
        self._length = max(seen) + new
        # a padded token behind the last place is written over it: nobody reads it, the row is full
        starts = torch.tensor(seen, device=device)[:, None]
        positions = starts + torch.arange(new, device=device)
        self._places = positions.clamp(max=self.keys.shape[3] - 1)
        self._numbers = torch.arange(first, first + len(seen), device=device)[:, None]
        return positions

    def mask(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of the pass that `aim` prepared, (rows, 1, new, columns)."""
        columns = torch.arange(self._length, device=positions.device)
        hidden = columns > positions[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(
            hidden, torch.finfo(dtype).min
        )

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write (rows, heads, new, width) of a layer; returns all that its rows hold, padded to the longest."""
        for held, states in ((self.keys, key_states), (self.values, value_states)):
            held[layer_idx].transpose(1, 2)[self._numbers, self._places] = states.transpose(1, 2)
        return (
            self.keys[layer_idx, self._rows, :, : self._length],
            self.values[layer_idx, self._rows, :, : self._length],
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The tokens that the longest row of the pass held before it."""
        return int(self._length - self._places.shape[1])

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """The columns of the pass, and 0."""
        return self._length, 0

    def copy(self, source: int, target: int, length: int) -> None:
        """Give a row the first `length` tokens of another."""
        for held in (self.keys, self.values):
            held[:, target, :, :length] = held[:, source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange two rows, of which the longer holds `length` tokens."""
        for held in (self.keys, self.values):
            kept = held[:, one, :, :length].clone()
            held[:, one, :, :length] = held[:, other, :, :length]
            held[:, other, :, :length] = kept


def row_bytes(config: PretrainedConfig, context: int, dtype: torch.dtype) -> int:
    """What the keys and values of `context` tokens take where every layer keeps all of them."""
    layers, heads, width = _size(config)
    return 2 * layers * heads * context * width * dtype.itemsize


def _shape(config: PretrainedConfig) -> tuple[int, int, int]:
    """Layers, heads of keys, and their width. Raises ValueError for a decoder that needs another cache."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ValueError(
            f"the decoder ({config.model_type}) has layers of {', '.join(sorted(kinds))}: answers to several at once "
            "need full_attention in all of them; serve this model with vLLM, or ask it with `qwenvl chat`"
        )
    return _size(config)


def _size(config: PretrainedConfig) -> tuple[int, int, int]:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, width
