"""Asking a model a benchmark's items: batches of similar length, pictures opened ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from qwenvl.data.images import ImageError
from qwenvl.data.sources.report import DataError
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Item
from qwenvl.evaluate.prompts import Opener, examples_for, picture_of, sample_of
from qwenvl.evaluate.rank import option_losses
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Image
from qwenvl.serve.engine import answer, inputs, stop_ids
from qwenvl.text.render import Example, render
from qwenvl.text.tokenizer import QwenTokenizer

Row = dict[str, Any]


@dataclass(frozen=True)
class Asking:
    """What stays the same through a task. `train` and `shots` are of few-shot: items, their pictures, how many."""

    benchmark: Benchmark
    model: QwenVLForConditionalGeneration
    tokenizer: QwenTokenizer
    pictures: Opener
    train: Sequence[Item] = ()
    train_pictures: Opener | None = None
    shots: int = 0
    seed: int = 0
    tested: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Ready:
    """A batch that waits for the model."""

    items: Sequence[Item]
    images: Sequence[Image | None]
    examples: Sequence[Example]
    tensors: dict[str, torch.Tensor]


def ask(asking: Asking, batches: Sequence[Sequence[Item]], workers: int = 2) -> Iterator[list[Row]]:
    """The rows of each batch as it is answered: id, answer, and what else only the asking knows.

    `workers` batches are got ready ahead, each in a thread. The answers do not depend on it. Raises DataError for a
    picture that can not be opened.
    """
    asking.model.eval()
    prepare: Callable[[Sequence[Item]], _Ready] = lambda items: _ready(asking, items)  # noqa: E731
    waiting = iter(batches)
    with ThreadPoolExecutor(workers, "qwenvl-pictures") as pool:
        ahead: deque[Future[_Ready]] = deque()
        try:
            for items in waiting:
                ahead.append(pool.submit(prepare, items))
                if len(ahead) > workers:
                    yield _rows(asking, ahead.popleft().result())
            while ahead:
                yield _rows(asking, ahead.popleft().result())
        finally:
            for future in ahead:
                future.cancel()


def in_batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Items of similar length together, the longest first: what does not fit into memory shows at once."""
    order = sorted(items, key=lambda item: (-len(item.prompt), item.id))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _ready(asking: Asking, items: Sequence[Item]) -> _Ready:
    images = [None if item.entry is None else asking.pictures.open(item.entry) for item in items]
    examples = [_example(asking, item, image) for item, image in zip(items, images, strict=True)]
    try:
        # ranking makes its own rows of each prompt
        tensors = {} if asking.benchmark.kind == "rank" else inputs(asking.model, asking.tokenizer, examples)
    except (ImageError, OSError) as error:
        raise DataError(f"{asking.benchmark.name}: {_broken(items, images) or error}") from None
    return _Ready(items, images, examples, tensors)


def _broken(items: Sequence[Item], images: Sequence[Image | None]) -> str:
    """Which of some pictures can not be decoded, and why."""
    for item, image in zip(items, images, strict=True):
        try:
            if image is not None:
                image.pil()
        except (ImageError, OSError) as error:
            return f"the picture of item {item.id}: {error}"
    return ""


def _example(asking: Asking, item: Item, image: Image | None) -> Example:
    shots: list[tuple[Item, Image | None]] = []
    if asking.shots:
        opener = asking.train_pictures or asking.pictures
        chosen = examples_for(item, asking.train, asking.shots, asking.seed, asking.tested | {picture_of(item)})
        shots = [(one, None if one.entry is None else opener.open(one.entry)) for one in chosen]
    sample = sample_of(asking.benchmark, item, image, shots)
    example = render(sample, asking.tokenizer, int(asking.model.config.num_queries))
    longest = int(asking.model.config.text_config.seq_length)
    if not example.slots and len(example.ids) > longest:
        # as the reference does with its five examples: the oldest words go
        example = replace(example, ids=example.ids[-longest:], labels=example.labels[-longest:])
    return example


def _rows(asking: Asking, ready: _Ready) -> list[Row]:
    rows = _ranked(asking, ready) if asking.benchmark.kind == "rank" else _said(asking, ready)
    for row, item, image in zip(rows, ready.items, ready.images, strict=True):
        row["id"] = item.id
        if image is not None:
            row["size"] = [image.width, image.height]
            row["image"] = str(image.source) if isinstance(image.source, Path) else None
    return rows


def _said(asking: Asking, ready: _Ready) -> list[Row]:
    stop = stop_ids(asking.tokenizer, ready.examples[0].task)
    decoding = asking.benchmark.decoding
    found = answer(asking.model, ready.tensors, decoding, stop, asking.tokenizer.eos_id)
    # the tags of a box are part of what was said about a place, and of nothing else
    plain = asking.benchmark.kind != "refer"
    return [{"answer": asking.tokenizer.decode(ids, skip_special=plain).strip()} for ids in found]


def _ranked(asking: Asking, ready: _Ready) -> list[Row]:
    options = [item.options for item in ready.items]
    losses = option_losses(asking.model, asking.tokenizer, ready.examples, options)
    rows: list[Row] = []
    for given, each in zip(options, losses, strict=True):
        best = min(range(len(given)), key=lambda place, each=each: each[place])  # type: ignore[misc]
        rows.append({"answer": given[best].strip(), "losses": [round(loss, 5) for loss in each]})
    return rows
