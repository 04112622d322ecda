"""One minute: a model from nothing learns where four things are and generates their boxes."""

from __future__ import annotations

import random

import torch
from PIL import Image as PILImage

from qwenvl.config import Stage, TaskShare
from qwenvl.data.loader import Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.sample import Box, Image, Phrase, Record
from qwenvl.serve.engine import Generation, generate
from qwenvl.tasks import referring
from qwenvl.text.geometry import iou
from qwenvl.text.markup import to_regions
from qwenvl.text.render import render_prompt, texts_of
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model
from qwenvl.train.objectives import next_token
from qwenvl.train.optim import Optimizers
from qwenvl.train.stages import freeze

from .helpers import tiny


def square(x: int, y: int, colour: tuple[int, int, int], word: str) -> Record:
    """A picture of 64 pixels with one coloured square of 24."""
    picture = PILImage.new("RGB", (64, 64), (230, 230, 230))
    picture.paste(colour, (x, y, x + 24, y + 24))
    phrase = Phrase(f"the {word} square", (Box(x, y, x + 24, y + 24),))
    return Record(f"{word}-{x}-{y}", "test", (Image(picture, 64, 64),), phrases=(phrase,))


def test_overfits_to_the_right_boxes() -> None:
    torch.manual_seed(0)
    places = [
        (4, 4, (220, 30, 30), "red"),
        (36, 6, (30, 160, 60), "green"),
        (6, 34, (40, 80, 220), "blue"),
        (34, 36, (20, 20, 20), "black"),
    ]
    records = [square(*place) for place in places]
    samples = [referring.samples(record, random.Random(0))[0] for record in records]
    tokenizer = QwenTokenizer.train_small((text for sample in samples for text in texts_of(sample)), 300)
    model = build_model(tiny().model_spec, tokenizer)
    parts, tasks = ("vision", "adapter", "decoder"), {"referring": TaskShare()}
    stage = Stage("overfit", parts, tasks, 150, optimizer="muon", lr=3e-3, min_lr=1e-4)
    freeze(model, stage.trains)
    optimizers = Optimizers(model, stage)
    settings = Settings({"referring": Share(1.0, 1)}, 32, 4, 160, 2, 0)
    stream = iter(Batches([Part(MemoryShards(records))], tokenizer, settings))
    for step in range(stage.steps):
        batch = next(stream)
        loss = next_token(model, batch, batch.supervised, isolate=True)
        loss.value.backward()
        optimizers.step(step)
    model.eval()
    prompts = [render_prompt(sample, tokenizer, 4) for sample in samples]
    for record, answer in zip(records, generate(model, tokenizer, prompts, Generation(40)), strict=True):
        regions = to_regions(tokenizer.decode(answer), 64, 64)
        assert regions and iou(regions[0].boxes[0], record.phrases[0].boxes[0]) > 0.8
