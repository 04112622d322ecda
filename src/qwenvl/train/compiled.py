"""torch.compile for each block of both towers by itself: blocks alike share what is compiled."""

from __future__ import annotations

import torch

from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.shard import units


def compile_blocks(model: QwenVLForConditionalGeneration, backend: str = "inductor") -> None:
    """Compile what each block computes, in place.

    Only `forward` is compiled: checkpointing is a part of it, and the hooks that gather a sharded block's weights
    stay outside.
    """
    for block in units(model):
        block.forward = torch.compile(block.forward, backend=backend)  # type: ignore[method-assign]
