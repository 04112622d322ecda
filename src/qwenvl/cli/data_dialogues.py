"""`qwenvl data dialogues`: conversations for stage 3."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb


def add(verbs: Verbs) -> None:
    """Register `dialogues`."""
    p = verb(
        verbs,
        "dialogues",
        dialogues,
        "make conversations for stage 3 from annotated pictures by a recipe; continues what was interrupted",
    )
    p.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a packaged recipe")
    p.add_argument("out", type=Path, metavar="OUTPUT", help="folder of the corpus")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="change a key, such as text.share=0.1")
    p.add_argument("--workers", type=positive, help="processes (default: the cores)")
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")
    p.add_argument("--fresh", action="store_true", help="start over; the language model's replies are kept")


def dialogues(options: argparse.Namespace) -> None:
    """`qwenvl data dialogues`."""
    from qwenvl.data.dialogues.recipe import load_dialogue_recipe
    from qwenvl.data.dialogues.report import summary_lines
    from qwenvl.data.dialogues.run import make

    recipe = load_dialogue_recipe(options.recipe, options.overrides)
    found = make(recipe, options.out, workers=options.workers, strict=options.strict, fresh=options.fresh)
    print("\n".join(summary_lines(found)))
    print(f"\nthe conversations are in {options.out}; look at {options.out / 'statistics.html'}")
