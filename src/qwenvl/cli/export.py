"""`qwenvl export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "export", run, "make a model's folder from the newest checkpoint of a run, also while it goes on")
    p.add_argument("run", type=Path, metavar="RUN", help="the folder of `qwenvl train --out`")
    p.add_argument("out", type=Path, metavar="OUT", help="folder for the model; must not exist")


def run(options: argparse.Namespace) -> None:
    """`qwenvl export`."""
    from qwenvl.train.result import export

    progress = export(options.run, options.out)
    print(f"wrote {options.out}: stage number {progress.stage + 1} after {progress.step} of its steps")
    print(f"  qwenvl chat --model {options.out} --image PICTURE")
