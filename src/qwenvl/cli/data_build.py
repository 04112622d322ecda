"""`qwenvl data build`: a corpus from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, engine_options, positive, verb


def add(verbs: Verbs) -> None:
    """Register `build`."""
    p = verb(verbs, "build", build, "make a corpus of sources and tasks from a recipe; continues what was begun")
    p.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a packaged recipe: stage1, stage2, stage3")
    p.add_argument("out", type=Path, metavar="OUTPUT", help="folder of the corpus")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="change a key, such as root=DIR or seed=1")
    engine_options(p)
    p.add_argument("--dry-run", type=positive, metavar="N", help="only judge the first N records of each source")


def build(options: argparse.Namespace) -> None:
    """`qwenvl data build`."""
    from qwenvl.data.assemble.card_text import headline
    from qwenvl.data.assemble.dry_run import dry_run, told
    from qwenvl.data.assemble.recipe import load_build_recipe
    from qwenvl.data.assemble.run import build as run

    if options.ray_address and options.engine != "ray":
        raise UsageError("--ray-address is for --engine ray")
    recipe = load_build_recipe(options.recipe, options.overrides)
    if options.dry_run:
        print("\n".join(told(dry_run(recipe, options.dry_run))))
        return
    card = run(
        recipe,
        options.out,
        engine=options.engine,
        workers=options.workers,
        address=options.ray_address,
        memory_mib=options.memory,
        fresh=options.fresh,
    )
    print(f"{headline(card)}\nthe corpus is in {options.out}; look at {options.out / 'card.html'}")
