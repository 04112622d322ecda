"""The one training loop: a stage's steps from where they stand to its end, interruptible at any moment."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from qwenvl.config import Recipe, Stage
from qwenvl.data.loader import Batch
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train import checkpoint
from qwenvl.train.checkpoint import Progress
from qwenvl.train.errors import CheckpointError, Interrupted, TrainingError
from qwenvl.train.gauges import Use, gradient_norms, memory, rates
from qwenvl.train.guards import SpikeGuard, Watch, stragglers
from qwenvl.train.kept_batch import keep
from qwenvl.train.metrics import Journal, Meter
from qwenvl.train.objectives import Objective, items_of, logged, objective_of
from qwenvl.train.optim import Optimizers, rate, trainable
from qwenvl.train.parallel import Ranks
from qwenvl.train.resume import State
from qwenvl.train.shard import clip_gradients, is_sharded, with_picture
from qwenvl.train.sharded_checkpoint import Saver, load_sharded
from qwenvl.train.sinks import Sink
from qwenvl.train.stop import Stop
from qwenvl.train.torchrun import first_alone


class Evaluate(Protocol):
    """Looks at the model while it trains: gives scores by name and writes what else it has to show to `folder`."""

    def __call__(
        self, model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, folder: Path
    ) -> dict[str, float]:
        """Every rank of a sharded model calls it, with the same arguments; only rank 0 has a `folder` that counts."""
        ...


@dataclass(frozen=True)
class Run:
    """What all stages of a run have in common, on this rank."""

    model: QwenVLForConditionalGeneration
    tokenizer: QwenTokenizer
    recipe: Recipe
    folder: Path
    ranks: Ranks
    precision: torch.dtype
    stop: Stop
    quiet: bool = False
    saver: Saver | None = None
    """Writes the checkpoints of a sharded model."""
    sinks: tuple[Sink, ...] = ()
    evaluate: Evaluate | None = None

    def say(self, text: str) -> None:
        """Tell the person who waits."""
        if not self.quiet:
            print(text, flush=True)


def train_stage(run: Run, stage: Stage, batches: Iterator[Batch], state: State) -> float:
    """Train from where `state` stands to the stage's end. Gives the seconds trained so far in the whole run.

    Raises Interrupted after saving when asked to stop, TrainingError on a loss or gradient that is not finite, or on a
    loss that jumps where the recipe says so.
    """
    recipe, ranks, begin = run.recipe, run.ranks, state.progress.step
    steps = _Steps(run, stage, state)
    before = sum(earlier.steps for earlier in recipe.stages[: state.progress.stage])
    path = run.folder / "metrics.jsonl" if ranks.first else None
    elapsed = state.progress.extra["elapsed"]
    journal = Journal(path, stage.name, stage.steps, begin, elapsed, run.quiet, run.sinks, before)

    def progress(done: int) -> Progress:
        extra = {**state.progress.extra, "elapsed": journal.elapsed, "recent": steps.guard.recent}
        return Progress(state.progress.stage, done, steps.loader, extra)

    try:
        with steps.watch:
            for step in range(begin, stage.steps):
                asked = steps.take(step, batches)
                done = step + 1
                journal.advance()
                if done % recipe.log_every == 0 or done == stage.steps:
                    journal.write(done, steps.line(step))
                if run.evaluate is not None and _due(done, recipe.evaluation.every):
                    steps.watch.at("evaluating")
                    paused = time.perf_counter()
                    journal.note(done, _evaluated(run, run.evaluate, f"{stage.name}-{done:06d}"))
                    steps.meter.pause(time.perf_counter() - paused)
                if asked or (done % recipe.save_every == 0 and done < stage.steps):
                    steps.watch.at("saving")
                    save(run, steps.optimizers.optimizers, steps.optimizers, progress(done), must=asked)
                if asked:
                    raise Interrupted(f"stopped in {stage.name} after step {done}; saved in {run.folder}")
        return journal.elapsed
    finally:
        journal.close()


def save(
    run: Run,
    optimizers: list[torch.optim.Optimizer],
    state: Optimizers | None,
    progress: Progress,
    must: bool = True,
) -> None:
    """Write a checkpoint; all ranks call it. One that `must` not be raises CheckpointError, else the run goes on."""
    problem = ""
    try:
        if run.saver is not None:
            run.saver.save(run.model, optimizers, progress)
        elif run.ranks.first:
            states = None if state is None else state.state_dict()
            checkpoint.save(run.folder / "checkpoints", run.model, states, progress, run.recipe.keep)
    except CheckpointError as error:
        problem = str(error)
    # the ranks must agree: one that went on alone would wait for the others for ever
    if run.ranks.any(bool(problem)):
        problem = problem or "another rank could not write its part of a checkpoint"
        if must:
            raise CheckpointError(problem)
        run.say(f"{problem}. The run goes on, and tries again after {run.recipe.save_every} steps")


class _Steps:
    """A stage's steps: one after the other, and what is measured of them."""

    def __init__(self, run: Run, stage: Stage, state: State) -> None:
        self._run, self._stage, self._index = run, stage, state.progress.stage
        model, ranks = run.model, run.ranks
        self.optimizers = Optimizers(model, stage)
        if state.optimizer is not None:
            self.optimizers.load_state_dict(state.optimizer)
        if state.sharded is not None:
            load_sharded(state.sharded, model, self.optimizers.optimizers)
        self._parameters = [parameter for _, parameter in trainable(model)]
        self._objective = objective_of(stage, run.tokenizer)
        sharded = is_sharded(model)
        self._combine = ranks.sum_numbers if sharded else ranks.sum_gradients
        self._averaged = ranks.readers if sharded else 1
        self.guard = SpikeGuard(state.progress.extra.get("recent", ()))
        self.meter = Meter(logged(stage), ranks)
        self.use = Use(model, stage, run.precision)
        self.watch = Watch(ranks.rank)
        self.loader: dict[str, Any] | None = state.progress.loader
        self._norms: dict[str, float] = {}
        model.train()

    def take(self, step: int, batches: Iterator[Batch]) -> bool:
        """One step; whether the run is asked to stop."""
        run, stage, model = self._run, self._stage, self._run.model
        # dropout then depends on the step and the rank alone, so a continued run draws what it would have drawn
        torch.manual_seed(_seed(run.recipe.seed, self._index, step, run.ranks.reader))
        self.watch.at(f"step {step + 1}: waiting for data")
        begin = time.perf_counter()
        micro = [next(batches) for _ in range(stage.accumulation)]
        self.meter.wait(time.perf_counter() - begin)
        self.use.add(micro)
        self.watch.at(f"step {step + 1}: computing")
        loss = _gradients(model, stage, self._objective, micro, self.meter, run.precision, self._averaged)
        self.watch.at(f"step {step + 1}: waiting for the other ranks' gradients")
        # every rank must come to the same decision, so the loss and the wish to stop travel with the gradients
        loss, asked = self._combine(self._parameters, [loss, float(run.stop.asked)])
        done = step + 1
        if done % run.recipe.log_every == 0 or done == stage.steps:
            self._norms = gradient_norms(model)
        norm = clip_gradients(self._parameters, stage.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(_bad(loss, norm, self._keep("bad", done, micro)))
        self._norms["grad_norm"] = round(norm, 4)
        if not self._skips(loss, done, micro):
            self.optimizers.step(step)
        self.loader = micro[-1].state
        return bool(asked)

    def line(self, step: int) -> dict[str, Any]:
        """What is logged of the steps since the last line; every rank must ask."""
        line = self.meter.line(self.use)
        slow = stragglers(line.pop("waits"))
        if slow:
            names = ", ".join(map(str, slow))
            self._run.say(f"step {step + 1}: waiting for data holds up rank {names}; its disk or its CPU is slower")
        return {**line, "lr": rate(step, self._stage), **rates(self.optimizers.optimizers), **self._norms, **memory()}

    def _skips(self, loss: float, done: int, micro: Sequence[Batch]) -> bool:
        """Whether a loss that jumps costs the step; the batch of one is kept."""
        policy = self._run.recipe.spikes
        if policy == "off" or not self.guard.spikes(loss):
            return False
        kept = self._keep("spike", done, micro)
        said = f"{self._stage.name}, step {done}: {self.guard.describe(loss)}{_where(kept)}"
        if policy == "stop":
            raise TrainingError(f"{said}; the recipe says spikes: stop")
        self._run.say(said + ("; the step is left out" if policy == "skip" else ""))
        if policy == "skip":
            for parameter in self._parameters:
                parameter.grad = None
        return policy == "skip"

    def _keep(self, kind: str, done: int, micro: Sequence[Batch]) -> list[Path]:
        name = f"{kind}-{self._stage.name}-{done:06d}-rank{self._run.ranks.rank}.npz"
        return keep(self._run.folder / name, micro)


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


def _evaluated(run: Run, evaluate: Evaluate, name: str) -> dict[str, float]:
    """The scores of an evaluation, which changes nothing of the training; all ranks work on that of a sharded model."""
    alone = run.ranks.world > 1 and not is_sharded(run.model)
    before = torch.get_rng_state()
    try:
        with first_alone(run.ranks) if alone else nullcontext(True) as mine:
            return evaluate(run.model, run.tokenizer, run.folder / "evaluations" / name) if mine else {}
    finally:
        torch.set_rng_state(before)
        run.model.train()


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _bad(loss: float, norm: float, kept: list[Path]) -> str:
    return (
        f"the loss is {loss} and the gradient norm {norm}: training stopped before the weights were touched"
        f"{_where(kept)}. A lower learning rate, a longer warm-up or float32 are what usually helps; the same "
        "command continues from the last checkpoint"
    )


def _where(kept: list[Path]) -> str:
    return f"; the batch is in {kept[0]} (qwenvl inspect {kept[0]})" if kept else ""
