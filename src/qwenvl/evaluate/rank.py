"""Ranking given answers by their mean loss after a prompt; letters by logit are the case of one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.serve.engine import inputs
from qwenvl.text.render import IGNORED, Example
from qwenvl.text.tokenizer import QwenTokenizer


@torch.inference_mode()
def option_losses(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    prompts: Sequence[Example],
    options: Sequence[Sequence[str]],
) -> list[list[float]]:
    """The mean loss (nats a token) of each option of each prompt, as the reference's multiple-choice evaluation has it.

    Options that differ in their last token alone take one pass of one row: Qwen's " A", " B", … do.
    """
    encoded = [[tuple(tokenizer.encode(option)) for option in given] for given in options]
    rows: list[Example] = []
    begins: list[dict[tuple[int, ...], int]] = []
    for prompt, given in zip(prompts, encoded, strict=True):
        begins.append({})
        for ids in given:
            if ids[:-1] not in begins[-1]:
                begins[-1][ids[:-1]] = len(rows)
                more = list(ids[:-1])
                rows.append(replace(prompt, ids=prompt.ids + more, labels=prompt.labels + [IGNORED] * len(more)))
    longest = max(len(ids) for given in encoded for ids in given)
    batch = inputs(model, tokenizer, rows)
    mask = batch["attention_mask"]
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(**batch, position_ids=places, logits_to_keep=longest, use_cache=False).logits.float()
    gains = logits.log_softmax(-1).cpu()
    return [
        [_loss(gains[rows_of[ids[:-1]]], ids) for ids in given] for rows_of, given in zip(begins, encoded, strict=True)
    ]


def _loss(gains: torch.Tensor, ids: tuple[int, ...]) -> float:
    """`gains` (K, vocabulary): log-probabilities after each of the row's last K ids, which the option's last ends."""
    first = gains.shape[0] - len(ids)
    return -sum(float(gains[first + place, token]) for place, token in enumerate(ids)) / len(ids)
