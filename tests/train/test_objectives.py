"""The word objective: its targets are the caption's words, and a picture is charged for its own."""

from __future__ import annotations

import random

import torch

from qwenvl.data.loader import Batches, MemoryShards, Settings, Share
from qwenvl.sample import Record
from qwenvl.tasks import TASKS
from qwenvl.text.render import render
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.batch import to_tensors
from qwenvl.train.build import build_model
from qwenvl.train.objectives import picture_words, words

from .helpers import tiny


def test_targets_are_the_words_of_the_captions(records: list[Record], tokenizer: QwenTokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(tiny().model_spec, tokenizer)
    settings = Settings({"caption": Share(1.0, 2)}, 32, 4, 160, 2, 0)
    batch = next(iter(Batches([(MemoryShards(records), 1.0)], tokenizer, settings)))
    tensors = to_tensors(batch, True, torch.device("cpu"))
    target = picture_words(model, batch, tensors)
    known = []
    for record in records:
        examples = [render(sample, tokenizer, 4) for sample in TASKS["caption"](record, random.Random(0))]
        known.append([{label for label in example.labels if label >= 0} for example in examples])
    for row in target:
        found = set(row.nonzero()[:, 0].tolist())
        assert any(found in (one, other, one | other) for one, other in known)
    loss = words(model, batch, tensors, batch.runs)
    assert torch.isfinite(loss.value) and loss.tasks["words"][1] == len(batch.pixels)
    loss.value.backward()
    assert model.model.adapter.query.grad is not None
