"""The tiny recipe's model, its tokenizer and records, for the tests of training."""

from __future__ import annotations

import random

import pytest

from qwenvl.config import ModelSpec
from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import Record
from qwenvl.tasks import TASKS
from qwenvl.text.render import texts_of
from qwenvl.text.tokenizer import QwenTokenizer
from tests.train.helpers import tiny


@pytest.fixture(scope="session")
def tiny_model_spec() -> ModelSpec:
    """The sizes of the tiny recipe's model."""
    return tiny().model_spec


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """A few scenes."""
    return [scene_record(0, index, "train", 64) for index in range(24)]


@pytest.fixture(scope="session")
def tokenizer(records: list[Record]) -> QwenTokenizer:
    """A small tokenizer that knows the scenes' words."""
    rng = random.Random(0)
    texts = (text for r in records for build in TASKS.values() for s in build(r, rng) for text in texts_of(s))
    return QwenTokenizer.train_small(texts, 400)
