"""What a stage trains: the model's three parts, and freezing all but some of them (paper, figure 3; DESIGN §7)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from qwenvl.config import Trainable

PARTS: dict[Trainable, tuple[str, ...]] = {
    "vision": ("model.vision_tower.",),
    "adapter": ("model.adapter.",),
    "decoder": ("model.language_model.", "lm_head."),
}
"""The paper's three parts as prefixes of parameter names; every parameter belongs to exactly one."""


def part_of(name: str) -> Trainable:
    """The part that the parameter `name` belongs to. Raises ValueError for a name outside all three."""
    for part, prefixes in PARTS.items():
        if name.startswith(prefixes):
            return part
    raise ValueError(f"parameter {name!r} belongs to none of the parts {', '.join(PARTS)}")


def freeze(model: nn.Module, trains: Sequence[Trainable]) -> None:
    """Let exactly the named parts train. The others get no gradient, and so no optimizer state."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in trains)
        parameter.grad = None


def trainable_counts(model: nn.Module) -> dict[Trainable, int]:
    """How many numbers of each part train now."""
    counts: dict[Trainable, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[part_of(name)] += parameter.numel()
    return counts
