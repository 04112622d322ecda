"""What a stage trains: the model's three parts, and freezing all but some of them (paper, figure 3; DESIGN §7)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from qwenvl.config import Stage, Trainable
from qwenvl.model.lora import has_lora, is_lora
from qwenvl.model.names import PARTS, part_of
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.typed import ConfigError

__all__ = ["PARTS", "checkpointing", "freeze", "part_of", "trainable_counts"]


def freeze(model: QwenVLForConditionalGeneration, trains: Sequence[Trainable], vision_last: int | None = None) -> None:
    """Let exactly the named parts train. The others get no gradient, and so no optimizer state.

    In a model with low-rank additions (`qwenvl.model.lora`), of a part that trains only the additions do. With
    `vision_last`, of the vision tower only its last so many blocks do, and what follows them. Raises ConfigError where
    the tower has fewer.
    """
    additions, still = has_lora(model), _still(model, vision_last)
    for name, parameter in model.named_parameters():
        learns = part_of(name) in trains and (is_lora(name) or not additions) and not name.startswith(still)
        # what is quantised holds whole numbers, which can't even be asked
        if learns or parameter.requires_grad:
            parameter.requires_grad_(learns)
        parameter.grad = None


def _still(model: QwenVLForConditionalGeneration, vision_last: int | None) -> tuple[str, ...]:
    """What the names of those parameters of the tower begin with that stand before its last so many blocks."""
    if vision_last is None:
        return ()
    tower = model.model.vision_tower
    inner, blocks = max(
        ((name, module) for name, module in tower.named_modules() if isinstance(module, nn.ModuleList)),
        key=lambda found: len(found[1]),
    )
    if not 0 < vision_last <= len(blocks):
        raise ConfigError(f"vision_last: expected 1 to {len(blocks)}, the blocks of the ViT; found {vision_last}")
    place = f"{PARTS['vision'][0]}{inner}."
    before = tuple(f"{place}{index}." for index in range(len(blocks) - vision_last))
    # the order of the names is that of the pass: patches and positions come first
    names = [f"{PARTS['vision'][0]}{name}" for name, _ in tower.named_parameters()]
    first = next(index for index, name in enumerate(names) if name.startswith(place))
    return (*names[:first], *before)


def checkpointing(model: QwenVLForConditionalGeneration, stage: Stage) -> None:
    """Let each tower's blocks keep for the backward pass what the stage says (`CheckpointingSpec`)."""
    towers = (
        (model.model.vision_tower, stage.checkpointing.vision),
        (
            model.model.language_model,
            stage.checkpointing.decoder,
        ),
    )
    for tower, kind in towers:
        again = partial(checkpoint, use_reentrant=False)
        if kind == "selective":
            again = partial(checkpoint, use_reentrant=False, context_fn=_selective)
        for module in tower.modules():
            # transformers' blocks ask these two; its own switch knows no towers
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = kind != "none"
                module._gradient_checkpointing_func = again


_PRODUCTS = ("mm", "addmm", "bmm", "_scaled_mm")
_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_flash_attention_forward",
    "_efficient_attention_forward",
)


def _selective() -> Any:
    """The two contexts of a selective checkpoint: what costs most to compute is kept, all else is not."""
    kept = [getattr(torch.ops.aten, name).default for name in (*_PRODUCTS, *_ATTENTION)]
    flex = getattr(torch.ops.higher_order, "flex_attention", None)
    return create_selective_checkpoint_contexts([*kept, *([flex] if flex is not None else [])])


def trainable_counts(model: nn.Module) -> dict[Trainable, int]:
    """How many numbers of each part train now."""
    counts: dict[Trainable, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[part_of(name)] += parameter.numel()
    return counts
