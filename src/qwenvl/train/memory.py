"""Bytes that training takes on each GPU, by formulas: docs/training.md has them. Nothing is allocated to find out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from qwenvl.config import Kept, Stage, Trainable
from qwenvl.model.cross_entropy import LOGITS
from qwenvl.model.lora import has_lora
from qwenvl.model.names import PARTS, part_of
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.flops import Work
from qwenvl.train.optim import is_hidden_matrix
from qwenvl.train.shard import units

CONTEXT = 2e9
"""Bytes for CUDA's context, NCCL's buffers and what the allocator can't use."""

MASTER, GRADIENT = 4, 4
"""Bytes of a weight that trains, and of its gradient: both float32."""


@dataclass(frozen=True)
class Layout:
    """How a stage's model lies on the GPUs.

    `shard` GPUs share one copy by FSDP; None: each holds a whole one. `compute`, `frozen` and `state`: bytes of a
    number in compute, of a weight that does not train, and of AdamW's two averages of one that does; `still` are parts
    that no stage trains, whose weights lie in the type of compute. `checkpoint`: what is computed again, by tower.
    `offload`: what is sharded lies on the CPU.
    """

    shard: int | None = None
    compute: int = 2
    frozen: float = 4
    state: float = 8
    checkpoint: Mapping[Literal["vision", "decoder"], Kept] | None = None
    offload: bool = False
    still: frozenset[Trainable] = frozenset()

    def stored(self, name: str) -> float:
        """Bytes of each number of the weight `name`, which does not train."""
        return min(self.frozen, self.compute) if part_of(name) in self.still else self.frozen


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    states: float
    activations: float
    logits: float
    buffers: float

    @property
    def total(self) -> float:
        """All of it, with what CUDA itself takes."""
        return sum(getattr(self, field.name) for field in fields(self)) + CONTEXT


def memory_of(model: QwenVLForConditionalGeneration, stage: Stage, layout: Layout, work: Work) -> Memory:
    """What `stage` takes for `model`, frozen as it will be, with `work` the micro-batch of one GPU."""
    weights = gradients = states = 0.0
    for name, parameter in model.named_parameters():
        count = parameter.numel()
        if not parameter.requires_grad:
            weights += layout.stored(name) * count
            continue
        muon = stage.optimizer == "muon" and is_hidden_matrix(name, parameter)
        weights += MASTER * count
        gradients += GRADIENT * count
        # Muon has one average, float32
        states += (4 if muon else layout.state) * count
    part = 0.0 if layout.offload else 1 / (layout.shard or 1)
    return Memory(
        weights=weights * part,
        gradients=gradients * part,
        states=states * part,
        activations=activations(model, layout, work),
        logits=logits(model, layout, work),
        buffers=buffers(model, layout),
    )


def activations(model: QwenVLForConditionalGeneration, layout: Layout, work: Work) -> float:
    """Bytes kept from the forward pass for the backward pass, and the pictures."""
    vision, text = model.config.vision_config, model.config.text_config
    trains = {part: any(p.requires_grad for n, p in model.named_parameters() if part_of(n) == part) for part in PARTS}
    patches, slots = work.pictures * work.patches, work.pictures * model.config.num_queries
    v, d = vision.hidden_size, text.hidden_size
    numbers = 0.0
    if trains["vision"]:
        block = 8 * v + 2 * vision.intermediate_size
        products = 7 * v + vision.intermediate_size
        numbers += patches * _tower(layout, "vision", vision.num_hidden_layers, v, products, block)
    if trains["vision"] or trains["adapter"]:
        numbers += patches * (v + 5 * d) + slots * 4 * d
    if any(trains.values()) and work.tokens:
        # a frozen layer needs its input for no weight's gradient
        whole = trains["decoder"] and not has_lora(model)
        block = (8 * d + 4 * text.intermediate_size) if whole else (6 * d + 3 * text.intermediate_size)
        products = 7 * d + 2 * text.intermediate_size
        numbers += work.tokens * (d + _tower(layout, "decoder", text.num_hidden_layers, d, products, block))
    picture = 3 * 4 * work.pictures * work.patches * vision.patch_size**2
    return numbers * layout.compute + picture


def _tower(
    layout: Layout, part: Literal["vision", "decoder"], layers: int, width: int, products: int, block: int
) -> float:
    """Numbers a token that all layers keep.

    `block` each, or with checkpointing the input alone (`width`) or with it what the matrix products and attention give
    (`products`), and one layer's at a time, made again.
    """
    kept = (layout.checkpoint or {}).get(part, "none")
    if kept == "none":
        return layers * block
    return layers * (width if kept == "full" else min(products, block)) + block


def logits(model: QwenVLForConditionalGeneration, layout: Layout, work: Work) -> float:
    """Bytes of the logits held at once: float32, as they come and as they go into the gradients' products."""
    vocabulary = int(model.config.text_config.vocab_size)
    rows = min(work.supervised, LOGITS["cuda"] // vocabulary)
    return float(rows * vocabulary * (4 + 2 * layout.compute))


def buffers(model: QwenVLForConditionalGeneration, layout: Layout) -> float:
    """Bytes of weights gathered, or cast, for compute, and of gradients on their way."""
    parameters = list(model.parameters())
    if layout.shard is None:
        # autocast keeps a copy of each matrix in the type of compute until the backward pass is through
        named = model.named_parameters()
        stored = ((p, MASTER if p.requires_grad else layout.stored(name)) for name, p in named if p.ndim >= 2)
        return float(sum(layout.compute * p.numel() for p, size in stored if layout.compute < size))
    inner = units(model)
    sizes = [sum(p.numel() for p in unit.parameters()) for unit in inner]
    learning = [sum(p.numel() for p in unit.parameters() if p.requires_grad) for unit in inner]
    rest = sum(p.numel() for p in parameters) - sum(sizes)
    rest_learning = sum(p.numel() for p in parameters if p.requires_grad) - sum(learning)
    # embeddings and head stay gathered; of the blocks there are two, one computing and the next one coming
    gathered = rest + 2 * max(sizes, default=0)
    return float(layout.compute * gathered + (layout.compute + GRADIENT) * max([*learning, rest_learning]))
