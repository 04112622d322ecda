"""`qwenvl train`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, image_root_option, verb

if TYPE_CHECKING:
    from qwenvl.config import Recipe


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
    dry = p.add_argument_group("dry run")
    dry.add_argument("--plan", action="store_true", help="print memory, operations, time and cost; start nothing")
    dry.add_argument("--gpus", type=int, metavar="N", help="how many GPUs (default: 1)")
    dry.add_argument(
        "--gpu", metavar="NAME", help="which, such as h200, a100 or cpu for this machine's (default: h200)"
    )
    dry.add_argument("--mfu", type=float, help="the share of the peak that is reached (default: 0.4)")
    dry.add_argument("--price", type=float, help="of a GPU for an hour, in any currency")
    dry.add_argument("--pictures", type=float, help="a row (default: as many as fill half of it)")


_PLAN_OPTIONS = ("gpus", "gpu", "mfu", "price", "pictures")


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
    if options.plan:
        return _plan(recipe, options)
    named = [name for name in _PLAN_OPTIONS if getattr(options, name) is not None]
    if named:
        raise UsageError(f"--{named[0]} is for a dry run: add --plan")
    from qwenvl.train.run import train

    out = options.out or Path("runs") / recipe.name
    looks = None
    if recipe.evaluation.every:
        from qwenvl.evaluate.during import During

        looks = During(recipe.evaluation, recipe.corpus.size if recipe.corpus else 96)
    how = {"strict": options.strict, "fresh": options.fresh, "image_root": options.image_root, "evaluate": looks}
    model = train(recipe, out, options.data, **how)
    if os.environ.get("RANK", "0") == "0":  # torchrun starts many of these
        _draw_curves(out)
        print(f"\nThe model is in {model}. Talk to it:\n  qwenvl chat --model {model} --image PICTURE")


def _draw_curves(out: Path) -> None:
    from qwenvl.evaluate.curves import write_curves

    try:
        paths = write_curves(out)
    except ImportError:
        print('No curves were drawn: matplotlib is not installed (pip install "qwenvl[train]").')
    else:
        if paths:
            print(f"The curves are {', '.join(map(str, paths))}.")


def _plan(recipe: Recipe, options: argparse.Namespace) -> None:
    from qwenvl.train.peaks import device_called, this_cpu
    from qwenvl.train.plan import Wish, plan
    from qwenvl.train.plan_text import plan_text

    if options.gpus is not None and options.gpus < 1:
        raise UsageError(f"--gpus {options.gpus}: expected 1 or more")
    if options.mfu is not None and not 0 < options.mfu <= 1:
        raise UsageError(f"--mfu {options.mfu:g}: expected a share, more than 0 and at most 1")
    if options.pictures is not None and options.pictures < 0:
        raise UsageError(f"--pictures {options.pictures:g}: expected 0 or more")
    try:
        device = this_cpu() if options.gpu == "cpu" else device_called(options.gpu or "h200")
    except ValueError as error:
        raise UsageError(f"--gpu: {error}") from None
    print(plan_text(plan(recipe, Wish(options.gpus or 1, device, options.mfu or 0.4, options.price, options.pictures))))
