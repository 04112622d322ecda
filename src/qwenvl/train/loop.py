"""The one training loop: a stage's steps from where they stand to its end, interruptible at any moment."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from qwenvl.config import Recipe, Stage
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train import checkpoint
from qwenvl.train.checkpoint import Progress
from qwenvl.train.errors import Interrupted, TrainingError
from qwenvl.train.metrics import Journal, Meter
from qwenvl.train.objectives import Objective, items_of, logged, objective_of
from qwenvl.train.optim import Optimizers, rate, trainable
from qwenvl.train.parallel import Ranks
from qwenvl.train.shard import clip_gradients, is_sharded, with_picture
from qwenvl.train.sharded_checkpoint import Saver, load_sharded


class Stop:
    """Set by SIGTERM (a terminal's Ctrl-C comes as one), or when the process that started this one is gone."""

    def __init__(self, parent: int | None = None) -> None:
        self._asked, self._parent = False, parent

    @property
    def asked(self) -> bool:
        """Whether the run shall save and end."""
        return self._asked or (self._parent is not None and os.getppid() != self._parent)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self._asked = True


@contextmanager
def stopping(parent: int | None = None) -> Iterator[Stop]:
    """Catch SIGTERM while stages train; `parent` is the process whose end is a wish to stop too."""
    stop = Stop(parent)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Place:
    """Where a stage begins or continues, where its files go, and who shares the work."""

    folder: Path
    stage_index: int
    ranks: Ranks
    step: int = 0
    optimizer: list[dict[str, Any]] | None = None
    elapsed: float = 0.0
    quiet: bool = False
    sharded: Path | None = None
    """The checkpoint whose optimizer state is still to be read, each rank its own part of it."""
    saver: Saver | None = None
    """Writes the checkpoints of a sharded model."""


def train_stage(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    recipe: Recipe,
    stage: Stage,
    batches: Iterator[Batch],
    place: Place,
    stop: Stop,
    precision: torch.dtype = torch.float32,
) -> float:
    """Train from `place.step` to the stage's end. Gives the seconds trained so far in the whole run.

    Raises Interrupted after saving when asked to stop, TrainingError on a loss or gradient that is not finite.
    """
    optimizers = Optimizers(model, stage)
    if place.optimizer is not None:
        optimizers.load_state_dict(place.optimizer)
    if place.sharded is not None:
        load_sharded(place.sharded, model, optimizers.optimizers)
    parameters = [parameter for _, parameter in trainable(model)]
    quiet = place.quiet or not place.ranks.first
    path = place.folder / "metrics.jsonl" if place.ranks.first else None
    journal = Journal(path, stage.name, stage.steps, place.step, place.elapsed, quiet)
    meter = Meter(logged(stage), place.ranks)
    objective = objective_of(stage, tokenizer)
    sharded = is_sharded(model)
    combine = place.ranks.sum_numbers if sharded else place.ranks.sum_gradients
    world = place.ranks.readers if sharded else 1
    model.train()

    def save(done: int, loader: dict[str, Any]) -> None:
        name = str(precision).removeprefix("torch.")
        extra = {"elapsed": journal.elapsed, "precision": name, "world": place.ranks.world}
        progress = Progress(place.stage_index, done, loader, extra)
        if place.saver is not None:
            place.saver.save(model, optimizers.optimizers, progress)
        elif place.ranks.first:
            checkpoint.save(place.folder / "checkpoints", model, optimizers.state_dict(), progress)
        place.ranks.barrier()

    try:
        for step in range(place.step, stage.steps):
            # dropout then depends on the step and the rank alone, so a continued run draws what it would have drawn
            torch.manual_seed(_seed(recipe.seed, place.stage_index, step, place.ranks.reader))
            begin = time.perf_counter()
            micro = [next(batches) for _ in range(stage.accumulation)]
            meter.wait(time.perf_counter() - begin)
            loss = _gradients(model, stage, objective, micro, meter, precision, world)
            # every rank must come to the same decision, so the loss and the wish to stop travel with the gradients
            loss, asked = combine(parameters, [loss, float(stop.asked)])
            norm = clip_gradients(parameters, stage.clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingError(_bad(loss, norm, micro, place))
            optimizers.step(step)
            journal.advance()
            done = step + 1
            if done % recipe.log_every == 0 or done == stage.steps:
                journal.write(done, {**meter.line(), "lr": rate(step, stage), "grad_norm": round(norm, 4)})
            if asked:
                save(done, micro[-1].state)
                raise Interrupted(f"stopped in {stage.name} after step {done}; saved in {place.folder}")
            if done % recipe.save_every == 0 and done < stage.steps:
                save(done, micro[-1].state)
        return journal.elapsed
    finally:
        journal.close()


def _gradients(
    model: QwenVLForConditionalGeneration,
    stage: Stage,
    objective: Objective,
    micro: list[Batch],
    meter: Meter,
    precision: torch.dtype,
    averaged: int,
) -> float:
    """Add up the gradients of the mean loss over the whole step, on all ranks; gives this rank's share of that loss.

    `averaged` ranks get the mean of their gradients in the backward pass (a sharded model's), where the sum is wanted.
    """
    device = next(model.parameters()).device
    # the mean over the whole step, so that how it is split into micro-batches and ranks changes nothing
    items = items_of(stage, micro)
    share = 0.0
    for batch in micro:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = objective(model, with_picture(batch) if averaged > 1 else batch, items)
        if loss.value.requires_grad:  # not where the vision tower alone trains and these rows hold no picture
            (loss.value * averaged if averaged > 1 else loss.value).backward()
        meter.add(batch, loss.tasks)
        share += loss.value.item()
    return share


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _bad(loss: float, norm: float, micro: list[Batch], place: Place) -> str:
    batch = micro[-1]
    path = place.folder / f"bad_batch-{place.ranks.rank}.npz"
    np.savez_compressed(path, ids=batch.ids, labels=batch.labels, pixels=batch.pixels, image_index=batch.image_index)
    return (
        f"the loss is {loss} and the gradient norm {norm}: training stopped before the weights were touched. The "
        f"batch is in {path}. A lower learning rate, a longer warm-up or float32 are what usually helps; the last "
        "checkpoint is whole, and the same command continues from it"
    )
