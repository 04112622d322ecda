"""The whole table: tasks in, a folder with every answer, its score and the protocol out.

`OUT/<task>/answers.jsonl` has a line an item, appended as the answers come; `OUT/<task>/result.json` the scores;
`OUT/results.json` all results of the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from tqdm import tqdm

from qwenvl.data.sources.report import DataError
from qwenvl.evaluate.answers import Answers
from qwenvl.evaluate.ask import Asking, ask, in_batches
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.registry import SCENES, benchmarks, chosen
from qwenvl.evaluate.locate import locate
from qwenvl.evaluate.predictions import read_predictions
from qwenvl.evaluate.prompts import Opener, picture_of
from qwenvl.evaluate.protocol import differences, digest, model_of, protocol_of
from qwenvl.evaluate.tally import row_of, tally
from qwenvl.model.load import Loaded

Result = dict[str, Any]


class EvaluationError(ValueError):
    """What was asked for can not be evaluated; the message says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """How to evaluate. `data` is the folder of the benchmarks' usual places, `given` says where other files lie
    (`qwenvl.evaluate.locate`). `limit` takes a split's first items. `workers` threads get batches ready.
    """

    out: Path
    data: Path = Path("data")
    given: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    few_shot: int = 0
    seed: int = 0
    batch_size: int = 16
    workers: int = 2
    quiet: bool = False


def evaluate_tasks(loaded: Loaded, tasks: Sequence[str], settings: Settings) -> list[Result]:
    """Evaluate a model on tasks or groups of them; gives the content of each `result.json`.

    Under `torchrun` every rank answers its share, and the first one scores and writes. Answers that are already in
    `settings.out` are kept; those of another protocol there end the run with EvaluationError. Raises DataMissing,
    naming where the files come from, before anything is asked; UnknownTask; DataError for data that can not be read.
    """
    names = chosen(tasks)
    known = benchmarks()
    places = {name: locate(known[name], settings.data, settings.given) for name in names if name != SCENES}
    rank, world = _ranks()
    dtype, device = str(loaded.model.dtype).removeprefix("torch."), str(loaded.model.device)
    about = model_of(loaded.folder, dtype, device) if rank == 0 else {}
    results = []
    for name in names:
        if name == SCENES:
            if rank == 0:
                from qwenvl.evaluate.scenes_task import evaluate_scenes_task

                results.append(evaluate_scenes_task(loaded, settings, about))
            continue
        results += _one(loaded, known[name], places[name], settings, about, (rank, world))
    if rank == 0:
        write_results(settings.out)
    return results


def score_predictions(task: str, file: Path, settings: Settings) -> Result:
    """Score answers that another program wrote (`qwenvl.evaluate.predictions`): no model is asked, no picture needed
    but where a box's picture has no annotated size. Errors are those of `evaluate_tasks`.
    """
    names = chosen([task])
    if len(names) != 1 or names[0] == SCENES:
        raise EvaluationError(f"--predictions scores one task, not {task} ({', '.join(names)})")
    benchmark = benchmarks()[names[0]]
    data = locate(benchmark, settings.data, settings.given)
    items = _items(benchmark, data, settings.limit)
    said = read_predictions(file, items)
    about = {"predictions": {"file": file.name, "digest": digest(file)}}
    protocol = protocol_of(benchmark, data, 0, settings.seed, settings.limit, about)
    # nobody knows how they came about
    protocol |= {"prompt": None, "decoding": None, "few_shot": None}
    _same_protocol(settings.out / benchmark.name, protocol)
    opener = Opener(data.pictures)
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        if item.id in said:
            rows[item.id] = {"id": item.id, "answer": said[item.id]}
            if item.box is not None and item.entry is not None and item.entry.size is None:
                image = opener.open(item.entry)
                rows[item.id]["size"] = [image.width, image.height]
    result = _finish(benchmark, items, rows, protocol, Answers(settings.out / benchmark.name))
    write_results(settings.out)
    return result


def write_results(out: Path) -> Path:
    """Write `OUT/results.json`: every task's result that is in the folder."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*/result.json"))]
    path = out / "results.json"
    path.write_text(json.dumps({"tasks": found}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def picture_folders(tasks: Sequence[str], settings: Settings) -> list[Path]:
    """The folders that the pictures of some tasks were taken from. Errors are those of `evaluate_tasks`."""
    known = benchmarks()
    names = [name for name in chosen(tasks) if name != SCENES]
    return [folder for name in names for folder in locate(known[name], settings.data, settings.given).pictures]


def _one(
    loaded: Loaded,
    benchmark: Benchmark,
    data: Data,
    settings: Settings,
    about: Mapping[str, Any],
    ranks: tuple[int, int],
) -> list[Result]:
    """One task: ask what is not answered yet, and on the first rank score everything."""
    rank, world = ranks
    shots = settings.few_shot if benchmark.few_shot else 0
    items = _items(benchmark, data, settings.limit)
    opener = Opener(data.pictures)
    _all_there(benchmark, items, opener)
    answers = Answers(settings.out / benchmark.name, rank)
    protocol = protocol_of(benchmark, data, shots, settings.seed, settings.limit, about) if rank == 0 else {}
    if rank == 0:
        _same_protocol(answers.folder, protocol)
    _barrier(world)
    done = answers.read()
    _barrier(world)  # nobody writes before all have read
    asking = Asking(benchmark, loaded.model, loaded.tokenizer, opener, seed=settings.seed, shots=shots)
    if shots:
        asking = _with_examples(asking, items, settings)
    batches = in_batches([item for item in items if item.id not in done], settings.batch_size)[rank::world]
    try:
        with tqdm(
            total=sum(map(len, batches)),
            desc=benchmark.name,
            unit="item",
            disable=settings.quiet or rank > 0,
            dynamic_ncols=True,
        ) as bar:
            for rows in ask(asking, batches, settings.workers):
                answers.append(rows)
                bar.update(len(rows))
    finally:
        answers.close()
    _barrier(world)
    result = [_finish(benchmark, items, answers.read(), protocol, answers)] if rank == 0 else []
    _barrier(world)  # the answers of all ranks are in one file now
    return result


def _items(benchmark: Benchmark, data: Data, limit: int | None) -> list[Item]:
    """The items of a split, each with an id of its own."""
    found: dict[str, Item] = {}
    for item in benchmark.items(data):
        if limit is not None and len(found) == limit:
            break
        if item.id in found:
            raise DataError(f"{data.path}: two items have the id {item.id!r}; their answers could not be told apart")
        found[item.id] = item
    if not found:
        raise DataError(f"{data.path}: nothing to ask: no item of {benchmark.title} in it")
    return list(found.values())


def _all_there(benchmark: Benchmark, items: Sequence[Item], opener: Opener) -> None:
    entries = [item.entry for item in items if item.entry is not None]
    missing = [entry for entry in entries if not opener.has(entry)]
    if missing:
        raise DataError(
            f"{benchmark.name}: {len(missing):,} of {len(entries):,} items have no picture; the first, "
            f"{missing[0].at}: {opener.missing(missing[0])}. They are from: {benchmark.where}"
        )


def _same_protocol(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Keep the protocol beside the answers; refuse to add answers that came about in another way."""
    path = folder / "protocol.json"
    if path.is_file() and any(folder.glob("answers*.jsonl")):
        try:
            other = differences(json.loads(path.read_text(encoding="utf-8")), protocol)
        except ValueError:
            other = ["protocol.json (broken)"]
        if other:
            raise EvaluationError(
                f"{folder} holds answers of another protocol (differing in {', '.join(other)}); give another --out, or "
                "delete that folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(protocol, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_examples(asking: Asking, items: Sequence[Item], settings: Settings) -> Asking:
    data = locate(asking.benchmark, settings.data, settings.given, train=True)
    train = list(asking.benchmark.items(data))
    tested = frozenset(picture_of(item) for item in items) - {""}
    return replace(asking, train=train, train_pictures=Opener(data.pictures), tested=tested)


def _finish(
    benchmark: Benchmark,
    items: Sequence[Item],
    rows: Mapping[str, Mapping[str, Any]],
    protocol: Mapping[str, Any],
    answers: Answers,
) -> Result:
    """Score, and write the answers in the split's order with their scores, and the result."""
    said = [
        Answer(item, str(rows[item.id]["answer"]), tuple(size) if (size := rows[item.id].get("size")) else None)
        for item in items
        if item.id in rows
    ]
    found = tally(benchmark, said)
    answers.write(
        row_of(benchmark, answer, score, rows[answer.item.id]) for answer, score in zip(said, found.each, strict=True)
    )
    result = {
        "task": benchmark.name,
        "split": benchmark.split,
        "items": len(said),
        "expected": len(items),
        "published": benchmark.published,
        "complete": len(said) == len(items) and (benchmark.published in (None, len(items))),
        "scores": found.scores,
        "categories": found.categories,
        "protocol": dict(protocol),
    }
    path = answers.folder / "result.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _ranks() -> tuple[int, int]:
    """This process's rank and how many there are, as `torchrun` says."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    if not dist.is_initialized():
        # ranks wait for each other at a task's end alone, and one may have much the longer answers
        dist.init_process_group("gloo", timeout=timedelta(days=1))
    return dist.get_rank(), world


def _barrier(world: int) -> None:
    if world > 1:
        dist.barrier()


def summary(results: Sequence[Result]) -> str:
    """The results as a text table: each task's metrics with interval and items; what is not whole is said."""
    lines = []
    for result in results:
        whole = f"{result['items']:,} items"
        if result["items"] != result["expected"]:
            whole = f"{result['items']:,} of {result['expected']:,} items answered"
        elif result["published"] not in (None, result["expected"]):
            whole += f" (the whole split has {result['published']:,})"
        lines.append(f"{result['task']} ({result['split']}): {whole}")
        for name, score in result["scores"].items():
            if score["value"] is None:
                continue
            low, high = score["low"], score["high"]
            span = "" if low is None or high is None else f"  [{100 * low:.2f}, {100 * high:.2f}]"
            lines.append(f"  {name:<28}{100 * score['value']:>8.2f}{span}")
        if not any(score["value"] is not None for score in result["scores"].values()):
            lines.append("  no score: the split keeps its answers back, or a judge gives it")
    return "\n".join(lines)
