"""`qwenvl quickstart`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "quickstart", run, "train a nano model from nothing, evaluate it, write the report (minutes)")
    p.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the run (default: %(default)s)")
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")


def run(options: argparse.Namespace) -> None:
    """`qwenvl quickstart`."""
    from qwenvl.quickstart import quickstart

    quickstart(options.out, options.fresh)
