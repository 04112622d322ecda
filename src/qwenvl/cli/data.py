"""`qwenvl data …`: the verbs about data."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli import data_build, data_clean, data_describe, data_dialogues, data_explain, data_tune
from qwenvl.cli.options import Verbs, group, positive, verb


def add(verbs: Verbs) -> None:
    """Register the group and its verbs."""
    within = group(verbs, "data", "make data")
    add_make_scenes(within)
    data_clean.add(within)
    data_build.add(within)
    data_describe.add(within)
    data_dialogues.add(within)
    data_explain.add(within)
    data_tune.add(within)


def add_make_scenes(verbs: Verbs) -> None:
    """Register `make-scenes`."""
    p = verb(verbs, "make-scenes", make_scenes, "write scenes of the nano world as shards")
    p.add_argument("out", type=Path, help="folder of the shards")
    p.add_argument("--count", type=positive, default=1000, help="how many scenes (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--split", choices=("train", "val", "test"), default="train")
    p.add_argument("--size", type=positive, default=96, help="pixels a side (default: %(default)s)")


def make_scenes(options: argparse.Namespace) -> None:
    """`qwenvl data make-scenes`."""
    from qwenvl.data.corpus import make_scenes as make

    make(options.out, options.count, options.size, options.seed, options.split)
    print(f"wrote {options.count} scenes to {options.out}")
