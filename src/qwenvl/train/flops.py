"""Floating-point operations of a training step, part by part, from the model's layers, what trains, and the batch.

The formulas are in docs/training.md. A multiplication and an addition are two operations; only matrix products count,
which is what a GPU's peak is given for. Model FLOPs are what the step needs, hardware FLOPs also what activation
checkpointing computes again: MFU and HFU (Chowdhery et al. 2022, "PaLM", appendix B).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from qwenvl.data.loader import Batch
from qwenvl.model.language import QwenVLTextModel
from qwenvl.model.names import HEAD, part_of
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration

FlopPart = Literal["vision", "adapter", "decoder", "head"]
FLOP_PARTS: tuple[FlopPart, ...] = ("vision", "adapter", "decoder", "head")

_Per = Literal["patch", "slot", "once", "token", "supervised", "patch pair", "slot and patch", "token pair"]


@dataclass(frozen=True)
class Work:
    """What goes through the model: a step's, a batch's or a sample's.

    `tokens` of the decoder without padding; `pairs` of a query and a key it may attend to, summed over tokens;
    `supervised` tokens, for which alone there are logits; `pictures`, each of `patches`. `passes`: forward passes that
    this is given in, each of which computes the adapter's queries anew.
    """

    tokens: int
    pairs: int
    supervised: int
    pictures: int
    patches: int
    passes: int = 1

    def __add__(self, other: Work) -> Work:
        return Work(
            self.tokens + other.tokens,
            self.pairs + other.pairs,
            self.supervised + other.supervised,
            self.pictures + other.pictures,
            max(self.patches, other.patches),
            self.passes + other.passes,
        )


def work_of(batch: Batch, isolate: bool, patch: int) -> Work:
    """What `batch` gives this rank's model to do; `patch` is the side of the vision tower's patches, in pixels."""
    used = batch.segments > 0
    # isolated, a token sees its own sample's tokens up to itself, which its position counts
    seen = batch.positions if isolate else np.broadcast_to(np.arange(used.shape[1]), used.shape)
    side = batch.pixels.shape[1] // patch if len(batch.pixels) else 0
    return Work(
        tokens=int(used.sum()),
        pairs=int((seen + 1)[used].sum()),
        supervised=int((batch.labels[:, 1:] != -100).sum()),
        pictures=len(batch.pixels),
        patches=side * side,
    )


def packed_work(documents: int, tokens: int, supervised: int, pictures: int, patches: int) -> Work:
    """A row of `tokens` that hold `documents` of equal length, each with causal attention of its own."""
    pairs = tokens * (tokens // documents + 1) // 2
    return Work(tokens, pairs, supervised, pictures, patches)


@dataclass(frozen=True)
class Passes:
    """Operations of one part: forward, the gradients of activations and of weights, and what is computed again."""

    forward: float = 0.0
    activations: float = 0.0
    weights: float = 0.0
    again: float = 0.0

    @property
    def model(self) -> float:
        """What the step needs."""
        return self.forward + self.activations + self.weights

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.forward + other.forward,
            self.activations + other.activations,
            self.weights + other.weights,
            self.again + other.again,
        )


@dataclass(frozen=True)
class Flops:
    """Operations by part."""

    parts: Mapping[FlopPart, Passes]

    @property
    def total(self) -> Passes:
        """All parts together."""
        return sum(self.parts.values(), Passes())

    @property
    def model(self) -> float:
        """What the step needs: MFU counts these."""
        return self.total.model

    @property
    def hardware(self) -> float:
        """With what checkpointing computes again: HFU counts these."""
        return self.model + self.total.again


@dataclass(frozen=True)
class _Product:
    """A matrix product: `size` multiplications for each of what it is computed `per`.

    `activations` and `weights` say which gradients the backward pass computes; in a product of two activations, as
    attention has them, both operands' gradients are of the first kind. `again`: checkpointing of the tower's
    blocks computes it a second time.
    """

    part: FlopPart
    size: int
    per: _Per
    activations: int
    weights: int
    again: bool


class StepFlops:
    """The operations of training `model` as it is frozen now. Nothing of it is computed, so it may be on "meta".

    `again` says which share of a tower's blocks activation checkpointing computes a second time (1 for all). Linear
    layers of experts that only some tokens go through would be counted for all.
    """

    def __init__(self, model: QwenVLForConditionalGeneration, again: Mapping[FlopPart, float] | None = None) -> None:
        self._queries = model.config.num_queries
        self._again = dict(again or {})
        self._products = list(_products(model))
        # else the backward pass reaches the decoder only through the pictures' embeddings
        self._text_trains = any(p.weights for p in self._products if p.part in ("decoder", "head"))

    def of(self, work: Work) -> Flops:
        """Forward and backward of `work`, without the optimizer's step."""
        times = {
            "patch": work.pictures * work.patches,
            "slot": work.pictures * self._queries,
            "once": work.passes if work.pictures else 0,
            "token": work.tokens,
            "supervised": work.supervised,
            "patch pair": work.pictures * work.patches**2,
            "slot and patch": work.pictures * self._queries * work.patches,
            "token pair": work.pairs,
        }
        backward = self._text_trains or work.pictures > 0
        parts: dict[FlopPart, Passes] = dict.fromkeys(FLOP_PARTS, Passes())
        for product in self._products:
            forward = 2.0 * product.size * times[product.per]
            activations, weights = product.activations * backward, product.weights * backward
            share = self._again.get(product.part, 0.0) if product.again and (activations or weights) else 0.0
            parts[product.part] += Passes(forward, forward * activations, forward * weights, forward * share)
        return Flops(parts)


def _products(model: QwenVLForConditionalGeneration) -> Iterator[_Product]:
    """All matrix products, in the order of the forward pass."""
    again = _computed_again(model)
    before = False  # whether something before this layer trains, so that the gradient of its input is wanted
    reached: dict[FlopPart, bool] = {}
    for name, module in model.named_modules():
        if next(module.children(), None) is not None:
            continue
        learns = any(parameter.requires_grad for parameter in module.parameters())
        if isinstance(module, nn.Linear | nn.Conv2d):
            part: FlopPart = "head" if name == HEAD else part_of(name)
            # the gradient of the pixels is never wanted
            inputs = before and isinstance(module, nn.Linear)
            weights = module.weight.requires_grad
            yield _Product(part, _size(module), _per(model, name, part), inputs, weights, name in again)
            reached[part] = before or learns
        before = before or learns
    yield from _attention(model, reached)


def _attention(model: QwenVLForConditionalGeneration, reached: Mapping[FlopPart, bool]) -> Iterator[_Product]:
    """Two products a layer, queries by keys and weights by values: each of two activations."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sizes: dict[FlopPart, tuple[int, _Per]] = {
        "vision": (2 * vision.hidden_size * vision.num_hidden_layers, "patch pair"),
        "adapter": (2 * text.hidden_size, "slot and patch"),
        "decoder": (2 * head * text.num_attention_heads * text.num_hidden_layers, "token pair"),
    }
    for part, (size, per) in sizes.items():
        yield _Product(part, size, per, 2 * reached.get(part, False), 0, part != "adapter")


def _per(model: QwenVLForConditionalGeneration, name: str, part: FlopPart) -> _Per:
    if part == "vision":
        return "patch"
    if part == "head":
        return "supervised"
    if part == "adapter":
        layer = name.removeprefix("model.adapter.").partition(".")[0]
        return "once" if layer == "q_proj" else "slot" if layer in ("out_proj", "proj") else "patch"
    decoder = model.model.language_model
    if isinstance(decoder, QwenVLTextModel):
        # of the last layer, what comes after attention is computed where the logits are wanted
        last = f"model.language_model.layers.{len(decoder.layers) - 1}."
        if name.startswith(last) and ".qkv_proj" not in name:
            return "supervised"
    return "token"


def _size(module: nn.Linear | nn.Conv2d) -> int:
    # not from the weight of a linear layer: one in 4 bits is packed
    return module.in_features * module.out_features if isinstance(module, nn.Linear) else module.weight.numel()


def _computed_again(model: nn.Module) -> set[str]:
    """The linear layers that checkpointing of the blocks computes again: all of a block but its last.

    torch stops as soon as it has all that the gradients need, and the last layer's output is not among it.
    """
    blocks: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        words = name.split(".")
        # every tower's blocks are counted in its layers' names, and nothing else is
        number = next((place for place, word in enumerate(words) if word.isdecimal()), None)
        if number is not None and isinstance(module, nn.Linear):
            blocks.setdefault(".".join(words[: number + 1]), []).append(name)
    return {name for layers in blocks.values() for name in layers[:-1]}
