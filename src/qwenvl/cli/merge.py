"""`qwenvl merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "merge", run, "join what a LoRA run learnt with the model that it started from: one whole folder")
    p.add_argument("run", type=Path, metavar="RUN", help="the run's folder, or that of the additions (RUN/model)")
    p.add_argument("out", type=Path, metavar="OUT", help="folder of the whole model; must be empty or absent")
    p.add_argument("--base", metavar="DIR", help="the model that was trained, where it no longer is where it was")


def run(options: argparse.Namespace) -> None:
    """`qwenvl merge`."""
    from qwenvl.model.merge import merge

    base = merge(options.run, options.out, options.base)
    print(f"Merged into {base}: the whole model is in {options.out}. Talk to it:\n  qwenvl chat --model {options.out}")
