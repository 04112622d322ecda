"""A loader's batch as tensors: normalised pictures, the attention mask of packed samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qwenvl.data.loader import Batch
from qwenvl.model.pixels import normalise


@dataclass
class TensorBatch:
    """What the model's forward takes; B rows of L tokens, N pictures, K runs of slots.

    `mask` (B, 1, L, L) is True where a query may attend to a key. `token_tasks` (B,) indexes `tasks`.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    pixel_values: torch.Tensor | None
    image_index: torch.Tensor | None


def to_tensors(batch: Batch, isolate: bool, device: torch.device) -> TensorBatch:
    """Move a batch to `device`. Without `isolate`, samples of a row see what stands before them (paper, 3.2)."""
    ids = torch.from_numpy(batch.ids).to(device)
    segments = torch.from_numpy(batch.segments).to(device)
    branches = torch.from_numpy(batch.branches).to(device)
    positions = torch.from_numpy(batch.positions).to(device)
    if not isolate:
        positions = torch.arange(ids.shape[1], device=device).expand_as(ids)
    pixels, index = pixels_of(batch, device)
    labels = torch.from_numpy(batch.labels).to(device)
    return TensorBatch(ids, labels, positions, packed_mask(segments, branches, isolate), pixels, index)


def pixels_of(batch: Batch, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The normalised pictures (N, 3, S, S), and which of them each run of slots shows (K,); None without any."""
    if not len(batch.pixels):
        return None, None
    return normalise(torch.from_numpy(batch.pixels).to(device)), torch.from_numpy(batch.image_index).to(device)


def packed_mask(segments: torch.Tensor, branches: torch.Tensor, isolate: bool) -> torch.Tensor:
    """(B, L) segments and branches → (B, 1, L, L), True where the query (third axis) may attend to the key (fourth).

    Isolated, a token sees earlier tokens of its own sample and its sample's picture, which may be shared with others.
    Padding sees itself alone, so that no softmax is empty.
    """
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    queries, keys = segments[:, :, None], segments[:, None, :]
    if isolate:
        own = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
        allowed = (queries == keys) & own & causal
    else:
        allowed = (keys > 0) & causal
    padding = (segments == 0)[:, :, None] & torch.eye(length, dtype=torch.bool, device=segments.device)
    return ((allowed & (queries > 0)) | padding)[:, None]
