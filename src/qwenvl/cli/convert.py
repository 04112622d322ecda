"""`qwenvl convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "convert", run, "bring a checkpoint from the released form to ours or back, and check each tensor")
    p.add_argument("source", metavar="SRC", help="a checkpoint folder, or a name on the Hugging Face Hub")
    p.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    p.add_argument("--to", choices=("native", "released"), help="the form (default: the one that SRC is not in)")
    p.add_argument("--max-shard-size", default="5GB", metavar="SIZE", help="of a weight file (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """`qwenvl convert`."""
    from qwenvl.hub import local_folder
    from qwenvl.model.convert.conversion import convert

    done = convert(local_folder(options.source), options.out, options.to, options.max_shard_size)
    print(
        f"wrote {done.folder} in the {done.form} form\n"
        f"read back: {done.tensors} tensors, {done.size:,} bytes, each equal to its source byte for byte"
    )
