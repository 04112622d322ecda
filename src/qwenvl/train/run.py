"""A whole run: recipe and data → tokenizer, corpus, stages one after the other, a folder for `from_pretrained`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from qwenvl.config import Recipe, Stage
from qwenvl.data.corpus import make_scenes, store_sources
from qwenvl.data.loader import Batches, Settings
from qwenvl.data.mixture import Share
from qwenvl.data.pixel_cache import PixelCache
from qwenvl.data.shards import ShardReader
from qwenvl.data.tasked import known_tasks, parts_of
from qwenvl.data.whole import write_text
from qwenvl.model.load import quietly
from qwenvl.model.lora import save_lora
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Task
from qwenvl.tasks import EXACT, TASKS
from qwenvl.tasks.wording import load_wording
from qwenvl.text.render import texts_of
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train import checkpoint
from qwenvl.train.build import check_start, resolve_precision
from qwenvl.train.checkpoint import Progress
from qwenvl.train.feed import Feed, workers_for
from qwenvl.train.loop import Place, Stop, stopping, train_stage
from qwenvl.train.parallel import Ranks, launch
from qwenvl.train.shard import check_shardable, is_sharded
from qwenvl.train.sharded_checkpoint import Saver, load_sharded, whole_weights
from qwenvl.train.stages import checkpointing, freeze, trainable_counts
from qwenvl.train.start import begin
from qwenvl.train.torchrun import first_alone, joined, started_by_torchrun
from qwenvl.typed import ConfigError, from_dict, to_dict

TOKENIZER_RECORDS = 3000
WORDING = "wording.yaml"
"""The run's own copy of the recipe's paraphrases: a file that changes later would change a run that goes on."""


def train(
    recipe: Recipe,
    out: Path,
    data: Sequence[str | Path] = (),
    strict: bool = False,
    fresh: bool = False,
    quiet: bool = False,
    image_root: Path | None = None,
) -> Path:
    """Train `recipe` into the folder `out`, or continue there; gives the folder of the finished model.

    `data` are the user's own files (docs/data.md), their pictures in `image_root` or beside them; without any the
    recipe's scenes are made. A second call continues where the first stopped, to the same losses. Raises ConfigError
    when `out` holds another recipe's run, DataError for data that can't be used, and the errors of
    `qwenvl.train.errors`.
    """
    if started_by_torchrun():
        with joined(recipe.parallel.tensor if recipe.parallel else 1) as ranks:
            check_shardable(recipe, ranks.world)
            with first_alone(ranks) as mine:
                if mine:
                    _begin(recipe, out, data, strict, fresh, quiet, image_root)
            if not finished(out):
                run_stages(ranks, recipe, out, quiet)
        return out / "model"
    if recipe.parallel is not None:
        raise ConfigError(
            f"recipe {recipe.name!r} has 'parallel': start it with torchrun --nproc-per-node N -m qwenvl train …, or "
            "take 'parallel' out"
        )
    _begin(recipe, out, data, strict, fresh, quiet, image_root)
    if finished(out):
        return out / "model"
    checkpoints = checkpoint.complete(out / "checkpoints")
    # another number of ranks would round otherwise: a run keeps the one that it began with
    world = checkpoint.read_progress(checkpoints[-1]).extra["world"] if checkpoints else recipe.ranks
    launch(run_stages, world, recipe, out, quiet)
    return out / "model"


def _begin(
    recipe: Recipe,
    out: Path,
    data: Sequence[str | Path],
    strict: bool,
    fresh: bool,
    quiet: bool,
    image_root: Path | None,
) -> None:
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    _same_recipe(recipe, out)
    if not finished(out):
        prepare(recipe, out, data, strict, quiet, image_root)


def finished(out: Path) -> bool:
    """True when the run in `out` has written its model."""
    return (out / "model" / "recipe.yaml").is_file()


def prepare(
    recipe: Recipe,
    out: Path,
    data: Sequence[str | Path] = (),
    strict: bool = False,
    quiet: bool = False,
    image_root: Path | None = None,
) -> None:
    """Make the run's corpus and tokenizer; what is already in `out` is not made again."""
    if not data and recipe.corpus is None:
        raise ConfigError(f"recipe {recipe.name!r} has no corpus of its own: name your data with --data FILE")
    check_start(recipe)
    if data:
        store_sources(data, out / "corpus", strict=strict, quiet=quiet, image_root=image_root)
    elif recipe.corpus is not None:
        corpus = recipe.corpus
        make_scenes(out / "corpus", corpus.scenes, corpus.size, corpus.seed, "train", quiet=quiet)
    if recipe.wording is not None and not (out / WORDING).exists():
        words = load_wording(Path(recipe.wording)).plain()
        write_text(out / WORDING, yaml.safe_dump(words, allow_unicode=True, sort_keys=False))
    if recipe.tokenizer is not None and not (out / "tokenizer").is_dir():
        tokenizer = _tokenizer(recipe, ShardReader(out / "corpus"))
        temporary = out / ".tokenizer.part"
        shutil.rmtree(temporary, ignore_errors=True)
        tokenizer.save(temporary)
        temporary.rename(out / "tokenizer")


def run_stages(ranks: Ranks, recipe: Recipe, out: Path, quiet: bool) -> None:
    """One rank's part: every stage from where the run stands, then rank 0 saves the model."""
    quiet = quiet or not ranks.first
    source = ShardReader(out / "corpus")
    precision = _precision(recipe, out)
    torch.manual_seed(recipe.seed)
    model, tokenizer = begin(recipe, out / "tokenizer", precision)
    progress, optimizer, sharded = _resume(model, precision, out, ranks)
    pixels = PixelCache()
    wording = load_wording(out / WORDING) if recipe.wording is not None else EXACT
    saver = Saver(out / "checkpoints", ranks) if is_sharded(model) else None
    with stopping(ranks.parent) as stop, saver or nullcontext():
        while progress.stage < len(recipe.stages):
            stage = recipe.stages[progress.stage]
            freeze(model, stage.trains, stage.vision_last)
            checkpointing(model, stage)
            missing = _tasks_without_data(source, stage)
            if len(missing) == len(stage.tasks):
                _say(quiet, f"{stage.name}: skipped, the data has nothing for its tasks ({', '.join(missing)})")
                elapsed = progress.extra["elapsed"]
            else:
                _announce(quiet, model, stage, progress, missing)
                settings = settings_of(stage, progress.stage, recipe.seed, model.config.num_queries, ranks)
                settings = replace(settings, wording=wording)
                batches = Batches(parts_of(source, settings.tasks), tokenizer, settings, progress.loader, pixels)
                elapsed = _train(
                    model,
                    tokenizer,
                    recipe,
                    stage,
                    batches,
                    progress,
                    optimizer,
                    sharded,
                    saver,
                    ranks,
                    out,
                    quiet,
                    stop,
                )
            optimizer = sharded = None
            progress = Progress(progress.stage + 1, 0, None, {**progress.extra, "elapsed": elapsed})
            if saver is not None:
                saver.save(model, [], progress)
            elif ranks.first:
                checkpoint.save(out / "checkpoints", model, None, progress)
            ranks.barrier()
    weights = whole_weights(model) if is_sharded(model) else None
    if ranks.first:
        save_model(model, tokenizer, recipe, out / "model", weights)


def save_model(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    recipe: Recipe,
    folder: Path,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, configuration, tokenizer and processor as a folder for `from_pretrained`; the recipe last.

    `weights` are the whole ones of a model that is sharded. Of a model with low-rank additions only these are written,
    with the name of the model that they belong to.
    """
    model.eval()
    if recipe.lora is not None:
        save_lora(model, folder, weights)
    else:
        with quietly():
            model.save_pretrained(folder, state_dict=weights)
    QwenVLProcessor(tokenizer, model.config).save_pretrained(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(to_dict(recipe), sort_keys=False), encoding="utf-8")


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


def _resume(
    model: QwenVLForConditionalGeneration, precision: torch.dtype, out: Path, ranks: Ranks
) -> tuple[Progress, list[dict[str, Any]] | None, Path | None]:
    """Where the run stands, with that place's weights in the model; the beginning where nothing is saved.

    Beside it the optimizer's state, or of a sharded model the checkpoint that has it.
    """
    checkpoints = checkpoint.complete(out / "checkpoints")
    ranks.barrier()
    if not checkpoints:
        name = str(precision).removeprefix("torch.")
        return Progress(0, 0, None, {"elapsed": 0.0, "precision": name, "world": ranks.world}), None, None
    last = checkpoints[-1]
    progress = checkpoint.read_progress(last)
    if not is_sharded(model):
        return progress, checkpoint.load(last, model), None
    load_sharded(last, model, [])
    return progress, None, last if progress.step else None


def _precision(recipe: Recipe, out: Path) -> torch.dtype:
    """The type for matrix products: the one that the run began with, else what the recipe says."""
    checkpoints = checkpoint.complete(out / "checkpoints")
    if checkpoints:
        return getattr(torch, checkpoint.read_progress(checkpoints[-1]).extra["precision"])  # type: ignore[no-any-return]
    return resolve_precision(recipe.precision)


def _train(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    recipe: Recipe,
    stage: Stage,
    batches: Batches,
    progress: Progress,
    optimizer: list[dict[str, Any]] | None,
    sharded: Path | None,
    saver: Saver | None,
    ranks: Ranks,
    out: Path,
    quiet: bool,
    stop: Stop,
) -> float:
    count = (stage.steps - progress.step) * stage.accumulation
    place = Place(
        out, progress.stage, ranks, progress.step, optimizer, progress.extra["elapsed"], quiet, sharded, saver
    )
    precision = getattr(torch, progress.extra["precision"])
    stream = Feed(batches, count, workers_for(ranks.world))
    elapsed = train_stage(model, tokenizer, recipe, stage, stream, place, stop, precision)
    for reason, dropped in stream.dropped.items():
        _say(quiet, f"{stage.name}: dropped {dropped} samples ({reason})")
    return elapsed


def _announce(
    quiet: bool, model: QwenVLForConditionalGeneration, stage: Stage, progress: Progress, missing: list[Task]
) -> None:
    counts = ", ".join(f"{part} {count:,}" for part, count in trainable_counts(model).items() if count)
    _say(quiet, f"{stage.name}: steps {progress.step} to {stage.steps}, {progress.extra['precision']}, trains {counts}")
    if missing:
        _say(quiet, f"{stage.name}: the data has nothing for {', '.join(missing)}")


def _tasks_without_data(source: ShardReader, stage: Stage) -> list[Task]:
    """The stage's tasks for which a built corpus has nothing, or no record of another's first shard has a sample."""
    rng = random.Random(0)
    known = known_tasks(source)
    missing = [task for task in stage.tasks if task not in known]
    if known:
        return missing
    for record in source.read_shard(0):
        missing = [task for task in missing if not TASKS[task](record, rng)]
        if not missing:
            break
    return missing


def _tokenizer(recipe: Recipe, reader: ShardReader) -> QwenTokenizer:
    spec = recipe.tokenizer
    if spec is not None and spec.path is not None:
        path = Path(spec.path)
        return QwenTokenizer.load(path) if path.is_dir() else QwenTokenizer.from_tiktoken(path)
    if spec is not None and spec.vocab_size is not None:
        return QwenTokenizer.train_small(_texts(reader), spec.vocab_size)
    raise ConfigError(f"recipe {recipe.name!r}: the tokenizer needs 'vocab_size' or 'path'")


def _texts(reader: ShardReader) -> Iterator[str]:
    """Every text of the first records' samples, as the tokenizer will meet it."""
    rng, seen = random.Random(0), 0
    for shard in range(len(reader.shards)):
        for record in reader.read_shard(shard):
            for build in TASKS.values():
                for sample in build(record, rng):
                    yield from texts_of(sample)
            seen += 1
            if seen >= TOKENIZER_RECORDS:
                return


def _same_recipe(recipe: Recipe, out: Path) -> None:
    path = out / "recipe.yaml"
    if path.exists():
        before = from_dict(Recipe, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
        if before == recipe:
            return
        if (out / "metrics.jsonl").exists() or finished(out):
            raise ConfigError(
                f"{out} holds a run of another recipe ({path}): choose another --out, or start over with --fresh"
            )
        # that run ended before its first step, such as for a bad row: nothing is lost by another try
        shutil.rmtree(out / "tokenizer", ignore_errors=True)
    path.write_text(yaml.safe_dump(to_dict(recipe), sort_keys=False), encoding="utf-8")


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, flush=True)
