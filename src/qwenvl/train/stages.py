"""What a stage trains: the model's three parts, and freezing all but some of them (paper, figure 3; DESIGN §7)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from qwenvl.config import Stage, Trainable
from qwenvl.model.lora import has_lora, is_lora
from qwenvl.model.names import PARTS, part_of

__all__ = ["PARTS", "checkpointing", "freeze", "part_of", "trainable_counts"]


def freeze(model: nn.Module, trains: Sequence[Trainable]) -> None:
    """Let exactly the named parts train. The others get no gradient, and so no optimizer state.

    In a model with low-rank additions (`qwenvl.model.lora`), of a part that trains only the additions do.
    """
    additions = has_lora(model)
    for name, parameter in model.named_parameters():
        learns = part_of(name) in trains and (is_lora(name) or not additions)
        # what is quantised holds whole numbers, which can't even be asked
        if learns or parameter.requires_grad:
            parameter.requires_grad_(learns)
        parameter.grad = None


def checkpointing(model: PreTrainedModel, stage: Stage) -> None:
    """Switch gradient checkpointing of both towers to what the stage says.

    With it a block keeps its input alone and computes the rest again for its gradient: the same gradients, much less
    memory, about a third more time.
    """
    if not stage.gradient_checkpointing:
        # both names of one thing: transformers 5.19 renamed it
        getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)()
        return
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    # transformers lets the embeddings ask for gradients then, for a way of checkpointing that is not used here
    model.disable_input_require_grads()


def trainable_counts(model: nn.Module) -> dict[Trainable, int]:
    """How many numbers of each part train now."""
    counts: dict[Trainable, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[part_of(name)] += parameter.numel()
    return counts
