"""torch.compile for each block of both towers by itself: blocks alike share what is compiled."""

from __future__ import annotations

import torch
import torch._dynamo

from qwenvl.model.adapter import PositionAwareAdapter
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.shard import units


def compile_blocks(model: QwenVLForConditionalGeneration, backend: str = "inductor") -> None:
    """Compile what each block computes, in place.

    Only `forward` is compiled: checkpointing is a part of it, and the hooks that gather a sharded block's weights
    stay outside.
    """
    # blocks differ by tower, rows and checkpointing, and each gets what is compiled for it: more than the usual 8
    torch._dynamo.config.recompile_limit = 64
    for block in units(model):
        if isinstance(block, PositionAwareAdapter):
            continue  # one module, whose table of positions is made anew for each size of picture
        block.forward = torch.compile(block.forward, backend=backend)  # type: ignore[method-assign]
