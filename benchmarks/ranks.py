"""One process of two threads against two processes of one thread: which trains the nano model faster on two cores?

    python benchmarks/ranks.py [--repeats 3] [--steps 20]

Whole steps (forward, backward, sum of the gradients, optimizer) of the nano recipe's stage 2 on made-up batches of its
size. The two ways take turns, so that a busy machine disturbs both.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from qwenvl.config import Recipe, Stage, load_recipe
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model, resolve_precision
from qwenvl.train.objectives import next_token
from qwenvl.train.optim import Optimizers, trainable
from qwenvl.train.parallel import Ranks, launch
from qwenvl.train.stages import freeze

WAYS = ((1, 2), (2, 1))
"""Processes, and threads of each."""

WORDS = 40
"""Tokens of text behind each picture."""


def made_up(model: QwenVLForConditionalGeneration, stage: Stage, ranks: Ranks) -> Batch:
    """This rank's share of a batch: rows full of pictures with some words behind each."""
    config = model.config
    random_ids = np.random.default_rng(ranks.rank)
    picture = [config.image_start_id, *[config.image_slot_id] * config.num_queries, config.image_end_id]
    length = len(picture) + WORDS
    groups, count = stage.sequence // length, len(range(stage.rows)[ranks.rank :: ranks.world])
    shape = (count, stage.sequence)
    ids, labels = np.full(shape, config.text_config.eos_token_id, np.int64), np.full(shape, -100, np.int64)
    positions = np.zeros(shape, np.int64)
    segments, branches = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    for group in range(groups):
        here = slice(group * length, (group + 1) * length)
        words = slice(here.stop - WORDS, here.stop)
        ids[:, here.start : words.start] = picture
        ids[:, words] = random_ids.integers(0, 256, (count, WORDS))
        labels[:, here.stop - WORDS // 2 : here.stop] = ids[:, here.stop - WORDS // 2 : here.stop]
        positions[:, here], segments[:, here], branches[:, words] = np.arange(length), group + 1, 1
    pictures = count * groups
    pixels = random_ids.integers(0, 256, (pictures, stage.image_size, stage.image_size, 3), np.uint8)
    supervised = stage.rows * groups * (WORDS // 2)
    return Batch(
        ids=ids,
        labels=labels,
        positions=positions,
        segments=segments,
        branches=branches,
        pixels=pixels,
        image_index=np.arange(pictures),
        tasks=[next(iter(stage.tasks))] * count,
        samples=pictures,
        supervised=supervised,
        runs=stage.rows * groups,
        state={},
    )


def train(ranks: Ranks, recipe: Recipe, stage: Stage, steps: int, folder: Path) -> None:
    """Take some steps; rank 0 leaves the seconds of each in the folder."""
    torch.manual_seed(0)
    model = build_model(recipe.model_spec, QwenTokenizer.load(folder / "tokenizer")).train()
    freeze(model, stage.trains)
    optimizers = Optimizers(model, stage)
    parameters = [parameter for _, parameter in trainable(model)]
    precision = getattr(torch, (folder / "precision").read_text())
    batch = made_up(model, stage, ranks)
    times = []
    for step in range(steps + 2):
        begin = time.perf_counter()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = next_token(model, batch, batch.supervised, stage.isolate)
        loss.value.backward()
        ranks.sum_gradients(parameters, [loss.value.item()])
        nn.utils.clip_grad_norm_(parameters, stage.clip)
        optimizers.step(step)
        times.append(time.perf_counter() - begin)
    if ranks.first:
        (folder / "times.json").write_text(json.dumps(times[2:]), encoding="utf-8")


def main() -> None:
    """Print each way's median step and what two processes gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="starts of each way (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="measured steps a start (default: %(default)s)")
    options = parser.parse_args()
    recipe = load_recipe("nano")
    (stage,) = (stage for stage in recipe.stages if stage.name == "stage2")
    medians: dict[tuple[int, int], list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = recipe.tokenizer.vocab_size if recipe.tokenizer is not None else None
        letters = random.Random(0)
        words = ["".join(letters.choices("abcdefghijklmnop", k=8)) for _ in range(2000)]
        QwenTokenizer.train_small(words, size or 768).save(folder / "tokenizer")
        precision = str(resolve_precision(recipe.precision)).removeprefix("torch.")
        (folder / "precision").write_text(precision, encoding="utf-8")
        for repeat in range(options.repeats):
            for world, threads in WAYS if repeat % 2 == 0 else WAYS[::-1]:
                os.environ["OMP_NUM_THREADS"] = str(threads)
                launch(train, world, recipe, stage, options.steps, folder)
                times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
                medians[world, threads].append(statistics.median(times))
    print(f"{stage.name} of {recipe.name}: {stage.rows} rows of {stage.sequence} tokens, {precision}")
    steps = {way: statistics.median(found) for way, found in medians.items()}
    for (world, threads), seconds in steps.items():
        each = ", ".join(f"{1000 * found:.0f}" for found in medians[world, threads])
        print(f"{world} × {threads} threads: {1000 * seconds:.0f} ms a step (median; starts: {each})")
    print(f"two processes of one thread are {steps[1, 2] / steps[2, 1]:.2f} times as fast as one of two threads")


if __name__ == "__main__":
    main()
