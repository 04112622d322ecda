"""`qwenvl train`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, image_root_option, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "train", run, "train a recipe, on its own corpus or on your data; continues what was interrupted")
    p.add_argument("recipe", help="a packaged recipe such as nano, or a YAML file")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="change a key, such as stages.stage1.lr=3e-4")
    p.add_argument("--data", action="append", default=[], metavar="FILE", help="your data (repeatable)")
    image_root_option(p)
    p.add_argument("--out", type=Path, help="folder of the run (default: runs/<recipe>)")
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")


def run(options: argparse.Namespace) -> None:
    """`qwenvl train`."""
    from qwenvl.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    for path in options.data:
        if not path.startswith("scenes:") and not Path(path).exists():
            raise UsageError(f"--data {path}: there is no such file")
    if options.image_root and not options.image_root.is_dir():
        raise UsageError(f"--image-root {options.image_root}: no such folder")
    if options.image_root and not options.data:
        raise UsageError("--image-root says where the pictures of your data lie: name the data with --data FILE")
    from qwenvl.train.run import train

    out = options.out or Path("runs") / recipe.name
    model = train(recipe, out, options.data, strict=options.strict, fresh=options.fresh, image_root=options.image_root)
    if os.environ.get("RANK", "0") == "0":  # torchrun starts many of these
        print(f"\nThe model is in {model}. Talk to it:\n  qwenvl chat --model {model} --image PICTURE")
