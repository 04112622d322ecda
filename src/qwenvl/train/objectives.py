"""What a stage minimises: the next token of the paper, or in stage 0 what stands where in a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qwenvl.config import Stage
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.batch import TensorBatch, pixels_of, to_tensors
from qwenvl.train.regions import regions_loss


@dataclass(frozen=True)
class Loss:
    """`value` is this batch's part of the step's mean; `tasks` has each task's summed loss and number of terms."""

    value: Tensor
    tasks: dict[str, tuple[float, int]]


Objective = Callable[[QwenVLForConditionalGeneration, Batch, int], Loss]
"""(model, batch, items of the whole step) → the batch's part of the step's loss."""


def objective_of(stage: Stage, tokenizer: QwenTokenizer) -> Objective:
    """The stage's objective as one function."""
    if stage.objective == "regions":
        return partial(regions, tokenizer=tokenizer)
    return partial(next_token, isolate=stage.isolate)


def next_token(model: QwenVLForConditionalGeneration, batch: Batch, items: int, isolate: bool) -> Loss:
    """Cross-entropy of the supervised tokens, summed and divided by `items`, the step's number of them."""
    output = forward(model, to_tensors(batch, isolate, next(model.parameters()).device), items)
    counts = (batch.labels[:, 1:] != -100).sum(1).tolist()
    tasks: dict[str, tuple[float, int]] = {}
    for task, losses in zip(batch.tasks, output.token_losses.detach().float().split(counts), strict=True):
        total, count = tasks.get(task, (0.0, 0))
        tasks[task] = (total + float(losses.sum()), count + len(losses))
    return Loss(output.loss, tasks)


def regions(model: QwenVLForConditionalGeneration, batch: Batch, items: int, tokenizer: QwenTokenizer) -> Loss:
    """`qwenvl.train.regions` over the batch's pictures, divided by `items`, the step's number of them."""
    pixels, _ = pixels_of(batch, next(model.parameters()).device)
    if pixels is None:
        return Loss(torch.zeros(()), {})
    total, parts = regions_loss(model, batch, pixels, tokenizer)
    return Loss(total / items, parts)


def forward(model: Any, tensors: TensorBatch, items: int) -> Any:
    """The model's loss over a batch, divided by `items` supervised tokens; `token_losses` beside it."""
    return model(
        input_ids=tensors.input_ids,
        pixel_values=tensors.pixel_values,
        image_index=tensors.image_index,
        attention_mask=tensors.mask,
        position_ids=tensors.position_ids,
        labels=tensors.labels,
        num_items_in_batch=items,
        return_token_losses=True,
        use_cache=False,
    )


def logged(stage: Stage) -> list[str]:
    """The names under which a stage's losses are logged."""
    return ["words", "boxes"] if stage.objective == "regions" else list(stage.tasks)


def items_of(stage: Stage, batches: list[Batch]) -> int:
    """What the step's loss is divided by, over all ranks: supervised tokens, or for "regions" pictures."""
    return max(1, sum(batch.runs if stage.objective == "regions" else batch.supervised for batch in batches))
