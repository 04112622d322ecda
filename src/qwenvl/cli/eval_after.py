"""`qwenvl eval report`, `compare` and `judge`: what is done with an evaluation's results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(p: argparse.ArgumentParser) -> None:
    """Register the verbs below `qwenvl eval`, which also stands alone."""
    within: Verbs = p.add_subparsers(title="with results", metavar="report | compare")
    made = verb(within, "report", report, "write report.html beside the results of a folder")
    made.add_argument("results", type=Path, metavar="OUT", help="folder that `qwenvl eval --out` wrote")
    made.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="show pictures that answers name where they lie below these folders (default: no pictures)",
    )
    made = verb(within, "compare", compare, "compare two evaluations sample by sample, with a paired test")
    made.add_argument("a", type=Path, metavar="A", help="results folder, of all tasks or of one")
    made.add_argument("b", type=Path, metavar="B")
    made.add_argument("--show", type=_count, default=3, help="changed samples shown each way (default: %(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write everything, every changed sample included")


def report(options: argparse.Namespace) -> None:
    """`qwenvl eval report`."""
    from qwenvl.evaluate.report_tasks import write_task_report

    print(f"wrote {write_task_report(options.results, options.images)}")


def compare(options: argparse.Namespace) -> None:
    """`qwenvl eval compare`."""
    from qwenvl.evaluate.compare import compare as compared
    from qwenvl.evaluate.compare_text import comparison_text

    found, apart = compared(options.a, options.b)
    print(comparison_text(found, apart, options.show))
    if options.json:
        content = {"a": str(options.a), "b": str(options.b), "tasks": [one.as_dict() for one in found]}
        options.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nwrote {options.json}")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, not {text!r}")
    return int(text)
