"""`qwenvl eval`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli import eval_after
from qwenvl.cli.options import Verbs, load_model, model_options, positive, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "eval", run, "score a model on held-out scenes")
    model_options(p)
    p.add_argument("--count", type=positive, default=400, help="how many scenes (default: %(default)s)")
    p.add_argument("--split", choices=("test", "val", "train"), default="test")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--batch-size", type=positive, default=64)
    p.add_argument("--out", type=Path, help="also write metrics.json and report.html into this folder")
    eval_after.add(p)


def run(options: argparse.Namespace) -> None:
    """`qwenvl eval`."""
    loaded = load_model(options)
    from qwenvl.evaluate.run import evaluate_scenes, table

    found = evaluate_scenes(
        loaded.model, loaded.tokenizer, options.count, options.split, options.seed, batch_size=options.batch_size
    )
    print(table(found.scores))
    if options.out:
        from qwenvl.evaluate.report import write_report

        found.write(options.out / "metrics.json")
        print(f"\nwrote {options.out / 'metrics.json'} and {write_report(options.out, found, model=loaded.folder)}")
