"""Stage 0's objective for ViT and adapter: every place of a picture says what stands there, and within which box.

The paper starts from OpenCLIP's ViT. A small model from nothing has none, and a decoder that meets random picture
embeddings learns to look away from them before they mean anything. Grounded captions say where each word belongs, which
is more than a caption says: in the spirit of GLIP (Li et al. 2022) they train the ViT on words at places, in the space
that the decoder reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer

WORD_BIAS = -4.0
"""What every word starts at, as a logit: absent from most places."""

BACKGROUND = 0.3
"""The weight of a place where nothing named stands."""

BOX_SCALE = 3.0
"""A box's four numbers in [0, 1], less ½, are multiplied by this: as large as the channels that hold words."""


@dataclass(frozen=True)
class Regions:
    """What a batch's text says is where.

    `picture` (R,) counts the batch's pictures; `boxes` (R, 4) are x0, y0, x1, y1 in [0, 1]; `words[i]` are the token
    ids of region i's phrase.
    """

    picture: NDArray[np.int64]
    boxes: NDArray[np.float32]
    words: list[list[int]]


@dataclass(frozen=True)
class Targets:
    """What each place of P shall say: `used` (W,) token ids, `words` (N, P, W), `boxes` (N, P, 4), `held` (N, P)."""

    used: Tensor
    words: Tensor
    boxes: Tensor
    held: Tensor


def regions_loss(
    model: QwenVLForConditionalGeneration, batch: Batch, pixel_values: Tensor, tokenizer: QwenTokenizer
) -> tuple[Tensor, dict[str, tuple[float, int]]]:
    """The summed loss a place of all pictures, and its two parts as sums with the number of their terms.

    Each patch goes through the adapter alone, as if a slot looked at nothing else. "words": the product of the result
    with the language head's rows says which words stand there (binary cross-entropy over the batch's words, summed a
    place). "boxes": its first four channels are the corners of the box around (mean absolute error, in fractions of
    the picture's side).
    """
    features = model.model.vision_tower(pixel_values).last_hidden_state
    places = model.model.adapter.each_alone(features).float()
    targets = _targets(read_regions(batch, tokenizer), len(places), round(places.shape[1] ** 0.5), places.device)
    logits = functional.linear(places, model.lm_head.weight[targets.used].float()) + WORD_BIAS
    entropy = functional.binary_cross_entropy_with_logits(logits, targets.words, reduction="none").sum(-1)
    words = (entropy * (BACKGROUND + (1 - BACKGROUND) * targets.held)).sum()
    distance = (places[..., :4] - (targets.boxes - 0.5) * BOX_SCALE).abs().sum(-1)
    boxes = (distance * targets.held).sum()
    count = int(targets.held.sum())
    parts = {
        "words": (float(words.detach()), count),
        "boxes": (float(boxes.detach()) / BOX_SCALE, 4 * count),
    }
    return (words + boxes) / places.shape[1], parts


def read_regions(batch: Batch, tokenizer: QwenTokenizer) -> Regions:
    """Every `<ref>phrase</ref>` with the `<box>`es and `<quad>`s behind it, out of the tokens themselves."""
    picture: list[int] = []
    boxes: list[list[float]] = []
    words: list[list[int]] = []
    rows, columns = (batch.ids == tokenizer.img_start_id).nonzero()
    for run, (row, column) in enumerate(zip(rows, columns, strict=True)):
        mine = batch.segments[row] == batch.segments[row, column]
        for phrase, cells in _phrases(batch.ids[row][mine].tolist(), tokenizer):
            picture.append(int(batch.image_index[run]))
            boxes.append([side(axis) / 1000 for side in (min, max) for axis in (cells[0::2], cells[1::2])])
            words.append(phrase)
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Regions(np.asarray(picture, np.int64), corners, words)


def _phrases(ids: list[int], tokenizer: QwenTokenizer) -> list[tuple[list[int], list[int]]]:
    """(phrase, coordinates) for every box or quad of one sample's ids."""
    digits = {tokenizer.encode(str(value))[0]: value for value in range(10)}
    ends = {tokenizer.box_start_id: tokenizer.box_end_id, tokenizer.quad_start_id: tokenizer.quad_end_id}
    found: list[tuple[list[int], list[int]]] = []
    phrase: list[int] = []
    here = 0
    while here < len(ids):
        if ids[here] == tokenizer.ref_start_id:
            end = ids.index(tokenizer.ref_end_id, here)
            phrase, here = ids[here + 1 : end], end
        elif ids[here] in ends:
            end = ids.index(ends[ids[here]], here)
            found.append((phrase, _numbers([digits.get(token) for token in ids[here + 1 : end]])))
            here = end
        here += 1
    return found


def _numbers(digits: list[int | None]) -> list[int]:
    """Runs of digits as numbers; None stands for any other token."""
    numbers: list[int] = []
    inside = False
    for digit in digits:
        if digit is not None:
            numbers = [*numbers[:-1], numbers[-1] * 10 + digit] if inside else [*numbers, digit]
        inside = digit is not None
    return numbers


def _targets(regions: Regions, pictures: int, grid: int, device: torch.device) -> Targets:
    """Give each place to the smallest region around its middle; a region around none takes the nearest."""
    count = len(regions.words)
    lengths = [len(words) for words in regions.words]
    flat = np.fromiter((word for words in regions.words for word in words), np.int64, sum(lengths))
    used, column = np.unique(flat, return_inverse=True)
    says = np.zeros((count, len(used)), np.float32)
    says[np.repeat(np.arange(count), lengths), column] = 1
    middle = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    x, y = np.tile(middle, grid), np.repeat(middle, grid)
    x0, y0, x1, y1 = (side[:, None] for side in regions.boxes.T)
    outside = np.maximum(np.maximum(x0 - x, x - x1), np.maximum(y0 - y, y - y1)).clip(0)
    inside = outside <= outside.min(1, keepdims=True) + 1e-6
    # np.inf where a region does not stand, so that the smallest is a minimum
    area = np.where(inside, (x1 - x0) * (y1 - y0), np.float32(np.inf))
    smallest = np.full((pictures, grid * grid), np.inf, np.float32)
    np.minimum.at(smallest, regions.picture, area)
    region, place = (inside & (area <= smallest[regions.picture])).nonzero()
    picture = regions.picture[region]
    words = np.zeros((pictures, grid * grid, len(used)), np.float32)
    boxes = np.zeros((pictures, grid * grid, 4), np.float32)
    held = np.zeros((pictures, grid * grid), np.float32)
    # the same box named in two languages: both names stand there
    np.maximum.at(words, (picture, place), says[region])
    boxes[picture, place] = regions.boxes[region]
    held[picture, place] = 1
    tensors = [torch.from_numpy(array).to(device) for array in (used, words, boxes, held)]
    return Targets(*tensors)
