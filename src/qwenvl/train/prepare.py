"""What a run makes before it trains: its folder, its corpus, its tokenizer and its own copy of the prompts' words."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from qwenvl.config import Recipe, Stage
from qwenvl.data.corpus import make_scenes, store_sources
from qwenvl.data.run_folder import difference
from qwenvl.data.shards import ShardReader
from qwenvl.data.tasked import known_tasks
from qwenvl.data.whole import write_text
from qwenvl.sample import Task
from qwenvl.tasks import TASKS
from qwenvl.tasks.wording import load_wording
from qwenvl.text.render import texts_of
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import check_start
from qwenvl.train.sinks import check_sinks
from qwenvl.typed import ConfigError, from_dict, to_dict

TOKENIZER_RECORDS = 3000
WORDING = "wording.yaml"
"""The run's own copy of the recipe's paraphrases: a file that changes later would change a run that goes on."""

_AROUND = ("log_every", "log", "save_every", "keep", "spikes", "evaluation")
"""Keys that a run may go on with changed: they change nothing of what is learnt, unless a loss jumps."""


def begin_folder(
    recipe: Recipe,
    out: Path,
    data: Sequence[str | Path],
    strict: bool,
    fresh: bool,
    quiet: bool,
    image_root: Path | None,
) -> None:
    """Make the run's folder what its stages need. Raises what `prepare` does."""
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
    check_sinks(recipe.log)
    if data:
        store_sources(data, out / "corpus", strict=strict, quiet=quiet, image_root=image_root)
    elif recipe.corpus is not None:
        corpus = recipe.corpus
        make_scenes(out / "corpus", corpus.scenes, corpus.size, corpus.seed, "train", quiet=quiet)
    if recipe.wording is not None and not (out / WORDING).exists():
        words = load_wording(Path(recipe.wording)).plain()
        write_text(out / WORDING, yaml.safe_dump(words, allow_unicode=True, sort_keys=False))
    if recipe.tokenizer is not None and not (out / "tokenizer").is_dir():
        tokenizer = tokenizer_of(recipe, ShardReader(out / "corpus"))
        temporary = out / ".tokenizer.part"
        shutil.rmtree(temporary, ignore_errors=True)
        tokenizer.save(temporary)
        temporary.rename(out / "tokenizer")


def tasks_without_data(source: ShardReader, stage: Stage) -> list[Task]:
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


def tokenizer_of(recipe: Recipe, reader: ShardReader) -> QwenTokenizer:
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
        around = {name: getattr(recipe, name) for name in _AROUND}
        begun = (out / "metrics.jsonl").exists() or finished(out)
        if begun and replace(before, **around) != recipe:
            where = difference(to_dict(replace(before, **around)), to_dict(recipe))
            raise ConfigError(
                f"{out} holds a run of another recipe ({where}; {path}): choose another --out, or start over with "
                "--fresh"
            )
        if not begun:
            # that run ended before its first step, such as for a bad row: nothing is lost by another try
            shutil.rmtree(out / "tokenizer", ignore_errors=True)
    path.write_text(yaml.safe_dump(to_dict(recipe), sort_keys=False), encoding="utf-8")
