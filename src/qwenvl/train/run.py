"""A whole run: recipe and data → tokenizer, corpus, stages one after the other, a folder for `from_pretrained`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from qwenvl.config import Recipe, Stage
from qwenvl.data.loader import Batches, Settings
from qwenvl.data.mixture import Share
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.data.shards import ShardReader
from qwenvl.data.tasked import parts_of
from qwenvl.sample import Task
from qwenvl.tasks import EXACT
from qwenvl.tasks.wording import load_wording
from qwenvl.train.checkpoint import Progress
from qwenvl.train.feed import Feed, workers_for
from qwenvl.train.loop import Evaluate, Run, save, train_stage
from qwenvl.train.parallel import Ranks, launch
from qwenvl.train.prepare import WORDING, begin_folder, finished, prepare, tasks_without_data
from qwenvl.train.result import save_model
from qwenvl.train.resume import State, newest, precision_of, resume
from qwenvl.train.shard import check_shardable, is_sharded
from qwenvl.train.sharded_checkpoint import Saver, whole_weights
from qwenvl.train.sinks import open_sinks
from qwenvl.train.stages import checkpointing, freeze, trainable_counts
from qwenvl.train.start import begin
from qwenvl.train.stop import stopping
from qwenvl.train.torchrun import first_alone, joined, started_by_torchrun
from qwenvl.typed import ConfigError, to_dict

__all__ = ["finished", "prepare", "run_stages", "save_model", "settings_of", "train"]


def train(
    recipe: Recipe,
    out: Path,
    data: Sequence[str | Path] = (),
    strict: bool = False,
    fresh: bool = False,
    quiet: bool = False,
    image_root: Path | None = None,
    evaluate: Evaluate | None = None,
) -> Path:
    """Train `recipe` into the folder `out`, or continue there; gives the folder of the finished model.

    `data` are the user's own files (docs/data.md), their pictures in `image_root` or beside them; without any the
    recipe's scenes are made. `evaluate` is called every `recipe.evaluation.every` steps; it must be picklable. A second
    call continues where the first stopped, to the same losses. Raises ConfigError when `out` holds another recipe's
    run, DataError for data that can't be used, and the errors of `qwenvl.train.errors`.
    """
    if started_by_torchrun():
        with joined(recipe.parallel.tensor if recipe.parallel else 1) as ranks:
            check_shardable(recipe, ranks.world)
            with first_alone(ranks) as mine:
                if mine:
                    begin_folder(recipe, out, data, strict, fresh, quiet, image_root)
            if not finished(out):
                run_stages(ranks, recipe, out, quiet, evaluate)
        return out / "model"
    if recipe.parallel is not None:
        raise ConfigError(
            f"recipe {recipe.name!r} has 'parallel': start it with torchrun --nproc-per-node N -m qwenvl train …, or "
            "take 'parallel' out"
        )
    begin_folder(recipe, out, data, strict, fresh, quiet, image_root)
    if finished(out):
        return out / "model"
    before = newest(out)
    # another number of ranks would round otherwise: a run keeps the one that it began with
    launch(run_stages, recipe.ranks if before is None else before.extra["world"], recipe, out, quiet, evaluate)
    return out / "model"


def run_stages(ranks: Ranks, recipe: Recipe, out: Path, quiet: bool, evaluate: Evaluate | None = None) -> None:
    """One rank's part: every stage from where the run stands, then rank 0 saves the model."""
    quiet = quiet or not ranks.first
    source = ShardReader(out / "corpus")
    precision = precision_of(recipe, out)
    torch.manual_seed(recipe.seed)
    model, tokenizer = begin(recipe, out / "tokenizer", precision)
    state = resume(model, precision, out, ranks)
    pixels = PixelCache()
    wording = load_wording(out / WORDING) if recipe.wording is not None else EXACT
    saver = Saver(out / "checkpoints", ranks, recipe.keep) if is_sharded(model) else None
    sinks = open_sinks(recipe.log, out, to_dict(recipe)) if ranks.first else []
    with stopping(ranks.parent) as stop, saver or nullcontext():
        run = Run(model, tokenizer, recipe, out, ranks, precision, stop, quiet, saver, tuple(sinks), evaluate)
        while state.progress.stage < len(recipe.stages):
            progress, stage = state.progress, recipe.stages[state.progress.stage]
            freeze(model, stage.trains, stage.vision_last)
            checkpointing(model, stage)
            missing = tasks_without_data(source, stage)
            if len(missing) == len(stage.tasks):
                run.say(f"{stage.name}: skipped, the data has nothing for its tasks ({', '.join(missing)})")
                elapsed = progress.extra["elapsed"]
            else:
                _announce(run, stage, progress, missing)
                settings = settings_of(stage, progress.stage, recipe.seed, model.config.num_queries, ranks)
                settings = replace(settings, wording=wording)
                batches = Batches(parts_of(source, settings.tasks), tokenizer, settings, progress.loader, pixels)
                count = (stage.steps - progress.step) * stage.accumulation
                feed = Feed(batches, count, workers_for(ranks.world))
                elapsed = train_stage(run, stage, feed, state)
                for reason, dropped in feed.dropped.items():
                    run.say(f"{stage.name}: dropped {dropped} samples ({reason})")
            extra = {key: progress.extra[key] for key in ("precision", "world")}
            state = State(Progress(progress.stage + 1, 0, None, {**extra, "elapsed": elapsed}))
            save(run, [], None, state.progress)
    for sink in sinks:
        sink.close()
    weights = whole_weights(model) if is_sharded(model) else None
    if ranks.first:
        save_model(model, tokenizer, recipe, out / "model", weights)


def settings_of(stage: Stage, index: int, seed: int, queries: int, ranks: Ranks | None = None) -> Settings:
    """What the loader must know of stage number `index`; `queries` slots a picture."""
    ranks = ranks or Ranks()
    tasks = {task: Share(share.share, share.questions, share.pictures) for task, share in stage.tasks.items()}
    return Settings(
        tasks=tasks,
        image_size=stage.image_size,
        slots_per_image=queries,
        sequence=stage.sequence,
        rows=stage.rows,
        seed=seed * 1000 + index,
        rank=ranks.reader,
        world=ranks.readers,
    )


def _announce(run: Run, stage: Stage, progress: Progress, missing: list[Task]) -> None:
    counts = ", ".join(f"{part} {count:,}" for part, count in trainable_counts(run.model).items() if count)
    run.say(f"{stage.name}: steps {progress.step} to {stage.steps}, {progress.extra['precision']}, trains {counts}")
    if missing:
        run.say(f"{stage.name}: the data has nothing for {', '.join(missing)}")
