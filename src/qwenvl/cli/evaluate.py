"""`qwenvl eval`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from qwenvl.cli import eval_after
from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, load_model, model_options, positive, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "eval", run, "score a model on held-out scenes, or on public benchmarks (--tasks)")
    model_options(p)
    p.add_argument("--count", type=positive, help="how many scenes, without --tasks (default: 400)")
    p.add_argument("--split", choices=("test", "val", "train"), help="of the scenes, without --tasks (default: test)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--batch-size", type=positive, help="default: 64 scenes, 16 items of a benchmark")
    p.add_argument("--out", type=Path, help="a folder for answers, scores and report (with --tasks: runs/eval)")
    p.add_argument("--tasks", metavar="A,B", help="benchmarks or groups, such as vqav2,refcoco,text; scenes is ours")
    p.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="DIR | TASK=PATH",
        help="the folder of the benchmarks' files (default: data), or where one task's lie: "
        "TASK=[READER:]PATH[?images=DIR&…], TASK:train=… for few-shot examples; again for more",
    )
    p.add_argument("--limit", type=positive, metavar="N", help="the first N items of each task alone")
    p.add_argument("--few-shot", type=_shots, default=0, metavar="K", help="examples before the question, 0 to 8")
    p.add_argument("--workers", type=positive, default=2, help="threads that get batches ready (default: %(default)s)")
    p.add_argument("--predictions", type=Path, metavar="FILE", help="score the answers of this file; no model is asked")
    eval_after.add(p)


def run(options: argparse.Namespace) -> None:
    """`qwenvl eval`."""
    if options.tasks:
        if options.count or options.split:
            raise UsageError(
                "--count and --split are of scenes without --tasks: take --limit N, and the split by --data"
            )
        _tasks(options)
        return
    if options.predictions or options.limit or options.few_shot or options.data:
        raise UsageError("--predictions, --limit, --few-shot and --data belong to --tasks: name the benchmark")
    loaded = load_model(options)
    from qwenvl.evaluate.run import evaluate_scenes, table

    found = evaluate_scenes(
        loaded.model,
        loaded.tokenizer,
        options.count or 400,
        options.split or "test",
        options.seed,
        batch_size=options.batch_size or 64,
    )
    print(table(found.scores))
    if options.out:
        from qwenvl.evaluate.report import write_report

        found.write(options.out / "metrics.json")
        print(f"\nwrote {options.out / 'metrics.json'} and {write_report(options.out, found, model=loaded.folder)}")


def _tasks(options: argparse.Namespace) -> None:
    from qwenvl.evaluate.benchmarks.registry import chosen
    from qwenvl.evaluate.harness import Settings, evaluate_tasks, picture_folders, score_predictions, summary
    from qwenvl.evaluate.report_tasks import write_task_report

    names = [name.strip() for name in options.tasks.split(",") if name.strip()]
    chosen(names)  # a wrong name is told before a model is loaded
    settings = Settings(
        out=options.out or Path("runs/eval"),
        limit=options.limit,
        few_shot=options.few_shot,
        seed=options.seed,
        batch_size=options.batch_size or 16,
        workers=options.workers,
        **_data(options.data),
    )
    if options.predictions:
        if len(names) != 1:
            raise UsageError("--predictions scores one task: name it alone with --tasks")
        results = [score_predictions(names[0], options.predictions, settings)]
    else:
        if options.device == "cuda" and "LOCAL_RANK" in os.environ:  # under torchrun each rank has its own
            options.device = f"cuda:{os.environ['LOCAL_RANK']}"
        results = evaluate_tasks(load_model(options), names, settings)
    if results:
        print(summary(results))
        report = write_task_report(settings.out, picture_folders(names, settings))
        print(f"\nwrote {settings.out / 'results.json'} and {report}")


def _data(given: list[str]) -> dict[str, Any]:
    folders = [text for text in given if "=" not in text.split("?")[0]]
    if len(folders) > 1:
        raise UsageError(f"--data names one folder for all tasks, not {len(folders)}; give a task's own as TASK=PATH")
    own = dict(text.split("=", 1) for text in given if text not in folders)
    return {"given": own} | ({"data": Path(folders[0])} if folders else {})


def _shots(text: str) -> int:
    if not text.isdecimal() or int(text) > 8:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 8, not {text!r}")
    return int(text)
