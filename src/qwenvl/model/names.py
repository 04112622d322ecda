"""Names of the model's parts and layers: what recipes, freezing, LoRA and quantisation call them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from torch import nn

from qwenvl.config import Trainable

PARTS: dict[Trainable, tuple[str, ...]] = {
    "vision": ("model.vision_tower.",),
    "adapter": ("model.adapter.",),
    "decoder": ("model.language_model.", "lm_head."),
}
"""The paper's three parts as prefixes of parameter names; every parameter belongs to exactly one."""

HEAD = "lm_head"


class TargetError(ValueError):
    """A name that no layer has; the message lists what there is."""


def part_of(name: str) -> Trainable:
    """The part that the parameter `name` belongs to. Raises ValueError for a name outside all three."""
    for part, prefixes in PARTS.items():
        if name.startswith(prefixes):
            return part
    raise ValueError(f"parameter {name!r} belongs to none of the parts {', '.join(PARTS)}")


def linear_layers(model: nn.Module, part: Trainable) -> list[str]:
    """The full names of the part's linear layers, in the model's order."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.".startswith(PARTS[part])
    ]


def chosen_layers(model: nn.Module, targets: Iterable[str]) -> list[str]:
    """The full names of the linear layers that `targets` name, in the model's order.

    A target is a part ("decoder": all its linear layers but the language head) or a part and the end of a layer's name
    ("decoder.qkv_proj", "vision.attn.proj", "decoder.layers.0.attn.o_proj"). Raises TargetError for a target that names
    nothing, with what there is; and for the language head of a model that ties it to its embeddings.
    """
    chosen: set[str] = set()
    for target in targets:
        chosen.update(_matching(model, target))
    tied = getattr(model.config, "tie_word_embeddings", False)
    if HEAD in chosen and tied:
        raise TargetError(
            "target 'decoder.lm_head': this model's language head and its token embeddings are one and the same "
            "tensor, so the head can't be changed alone: leave it out"
        )
    return [name for name, _ in model.named_modules() if name in chosen]


def _matching(model: nn.Module, target: str) -> list[str]:
    word, _, ending = target.partition(".")
    part = next((known for known in PARTS if known == word), None)
    if part is None:
        raise TargetError(
            f"target {target!r} begins with none of the parts {', '.join(PARTS)}{_nearest(word, list(PARTS))}; "
            "write it like decoder.qkv_proj, or decoder for all linear layers of the part"
        )
    layers = linear_layers(model, part)
    found = [name for name in layers if (f".{name}".endswith(f".{ending}") if ending else name != HEAD)]
    if not found:
        there = endings(layers)
        raise TargetError(
            f"target {target!r} is no linear layer of this model{_nearest(ending, [*there, *_last(there)])}; "
            f"the part {part!r} has {', '.join(there) or 'none'}"
        )
    return found


def endings(layers: Sequence[str]) -> list[str]:
    """What follows the last number in each layer's name (else its last word), once each: the names to choose from."""
    found: dict[str, None] = {}
    for name in layers:
        words = name.split(".")
        after = max((index for index, word in enumerate(words) if word.isdecimal()), default=len(words) - 2)
        found[".".join(words[after + 1 :])] = None
    return list(found)


def _last(names: Sequence[str]) -> list[str]:
    return [name.rpartition(".")[2] for name in names]


def _nearest(word: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
