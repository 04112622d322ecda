"""What a stage minimises: the next token of the paper, or the words of a picture.

The paper starts from a ViT that OpenCLIP trained on image–text pairs and from Qwen-7B. A model from nothing has
neither, and a decoder that meets random picture embeddings first learns to look away from them. So stage 0 of the nano
recipes has, beside text for the decoder, image–text pre-training for ViT and adapter: each slot says which words the
caption holds. Classifying a caption's words trains a ViT about as well as contrast does (Huang et al. 2024,
"SuperClass").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qwenvl.config import Stage
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.batch import TensorBatch

WORDS = "words"
"""The name under which the word objective's loss is logged: it is no token's loss."""

WORD_BIAS = -4.0
"""What every word starts at, as a logit: absent from most pictures."""


@dataclass(frozen=True)
class Loss:
    """`value` is this batch's part of the step's mean; `tasks` has each task's summed loss and number of terms."""

    value: Tensor
    tasks: dict[str, tuple[float, int]]


def next_token(model: QwenVLForConditionalGeneration, batch: Batch, tensors: TensorBatch, items: int) -> Loss:
    """Cross-entropy of the supervised tokens, summed and divided by `items`, the step's number of them."""
    output = forward(model, tensors, items)
    counts = (batch.labels[:, 1:] != -100).sum(1).tolist()
    tasks: dict[str, tuple[float, int]] = {}
    for task, losses in zip(batch.tasks, output.token_losses.detach().float().split(counts), strict=True):
        total, count = tasks.get(task, (0.0, 0))
        tasks[task] = (total + float(losses.sum()), count + len(losses))
    return Loss(output.loss, tasks)


def words(model: QwenVLForConditionalGeneration, batch: Batch, tensors: TensorBatch, items: int) -> Loss:
    """The words (token ids) of each picture's supervised text, found by any of its slots.

    Summed and divided by `items` pictures. A slot's logit for a word is the product with the word's row of the language
    head; a picture has the word unless every slot denies it (noisy or). So slots come to hold words where they are
    seen, in the space that the decoder reads.
    """
    if tensors.pixel_values is None:
        return Loss(torch.zeros((), device=tensors.labels.device), {})
    target = picture_words(model, batch, tensors)
    slots = model.get_image_features(tensors.pixel_values).pooler_output
    logits = model.lm_head(slots).float() + WORD_BIAS
    absent = functional.logsigmoid(-logits).sum(1)
    present = torch.log(-torch.expm1(absent.clamp(max=-1e-6)))
    total = -(target * present + (1 - target) * absent).sum()
    return Loss(total / items, {WORDS: (float(total.detach()), len(target))})


def picture_words(model: QwenVLForConditionalGeneration, batch: Batch, tensors: TensorBatch) -> Tensor:
    """(pictures, vocabulary), 1 where a picture's supervised text holds the token."""
    target = torch.zeros(len(batch.pixels), model.config.text_config.vocab_size, device=tensors.labels.device)
    rows, columns = (batch.ids == model.config.image_start_id).nonzero()
    for run, (row, column) in enumerate(zip(rows, columns, strict=True)):
        mine = (batch.segments[row] == batch.segments[row, column]) & (batch.labels[row] != -100)
        target[batch.image_index[run], torch.from_numpy(batch.labels[row][mine])] = 1.0
    return target


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
    return [WORDS] if stage.objective == "words" else list(stage.tasks)


def items_of(stage: Stage, batches: list[Batch]) -> int:
    """What the step's loss is divided by, over all ranks: supervised tokens, or for "words" pictures."""
    return max(1, sum(batch.runs if stage.objective == "words" else batch.supervised for batch in batches))


OBJECTIVES = {"next_token": next_token, "words": words}
