"""The released-form checkpoint gives the reference's numbers: features, embeddings, logits, loss, tokens, long text."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor

from qwenvl.model import QwenVLForConditionalGeneration
from qwenvl.model.pixels import pixel_values
from tests.model.helpers import OFFICIAL

Golden = dict[str, Tensor]


@pytest.fixture(autouse=True, params=["sdpa", "matmul", "eager"])
def attention(request: pytest.FixtureRequest, official: QwenVLForConditionalGeneration) -> None:
    official.set_attn_implementation(request.param)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def test_pixel_values(expected: Golden) -> None:
    pictures = [Image.open(OFFICIAL / name) for name in ("0.png", "1.png")]
    assert difference(pixel_values(pictures, 112), expected["pixel_values"]) <= 1e-6


@torch.inference_mode()
def test_features_and_embeddings(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    got = official.get_image_features(expected["pixel_values"])
    assert difference(got.last_hidden_state, expected["vit_features"]) <= 1e-4
    assert difference(got.pooler_output, expected["image_embeddings"]) <= 1e-4


@torch.inference_mode()
def test_text_logits(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    assert difference(official(expected["text.input_ids"]).logits, expected["text.logits"]) <= 1e-4


@torch.inference_mode()
def test_image_logits_and_loss(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    ids, pixels = expected["one_image.input_ids"], expected["pixel_values"][:1]
    assert difference(official(ids, pixel_values=pixels).logits, expected["one_image.logits"]) <= 1e-4
    loss = official(ids, pixel_values=pixels, labels=expected["one_image.labels"]).loss
    assert difference(loss[None], expected["one_image.loss"]) <= 1e-4
    ids = expected["two_images.input_ids"]
    logits = official(ids, pixel_values=expected["pixel_values"]).logits
    assert difference(logits, expected["two_images.logits"]) <= 1e-4


@torch.inference_mode()
def test_text_beyond_the_training_length(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    logits = official(expected["long_text.input_ids"], logits_to_keep=64).logits
    assert difference(logits, expected["long_text.logits"]) <= 1e-3


def test_greedy_tokens(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    ids = expected["greedy.input_ids"]
    new = official.generate(ids, pixel_values=expected["pixel_values"][:1], max_new_tokens=24, do_sample=False)
    assert torch.equal(new[:, ids.shape[1] :], expected["greedy.new_ids"])


def test_beam_tokens(official: QwenVLForConditionalGeneration, expected: Golden) -> None:
    ids = expected["beam3.input_ids"]
    new = official.generate(ids, pixel_values=expected["pixel_values"], max_new_tokens=12, num_beams=3, do_sample=False)
    assert torch.equal(new[:, ids.shape[1] :], expected["beam3.new_ids"])
