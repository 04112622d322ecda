"""`qwenvl data clean`: a cleaning run."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, engine_options, positive, verb

_COLUMNS = ("image", "caption", "key", "url")


def add(verbs: Verbs) -> None:
    """Register `clean`."""
    p = verb(verbs, "clean", clean, "clean image–text pairs by a recipe of rules; continues what was interrupted")
    p.add_argument(
        "input",
        metavar="INPUT",
        help="a folder, file or pattern, local or an fsspec URL: WebDataset tars, Parquet, JSON lines, Arrow",
    )
    p.add_argument("out", type=Path, metavar="OUTPUT", help="folder of the cleaned shards")
    p.add_argument("overrides", nargs="*", metavar="rule.key=value", help="change a rule, such as aspect_ratio.max=2.5")
    p.add_argument("--recipe", default="pretrain", help="a packaged recipe or a YAML file (default: %(default)s)")
    p.add_argument("--source", metavar="NAME", help="name of the set (default: the folder's)")
    p.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help=f"the column that holds the {', '.join(_COLUMNS)}, where it has no usual name (repeatable)",
    )
    engine_options(p)
    p.add_argument(
        "--dry-run", type=positive, metavar="N", help="only judge about N pairs, spread over the input; writes nothing"
    )


def clean(options: argparse.Namespace) -> None:
    """`qwenvl data clean`."""
    from qwenvl.data.engine import warm_up

    if options.engine == "pool":
        warm_up("qwenvl.data.clean.unit", options.workers)
    from qwenvl.data.clean.recipe import load_clean_recipe
    from qwenvl.data.clean.run import clean as run
    from qwenvl.data.clean.summary import summary_lines
    from qwenvl.data.sources.pairs import Columns

    if options.ray_address and options.engine != "ray":
        raise UsageError("--ray-address is for --engine ray")
    recipe = load_clean_recipe(options.recipe, options.overrides)
    columns = Columns(**dict(map(_column, options.column)))
    if options.dry_run:
        from qwenvl.data.clean.dry_run import dry_run, told
        from qwenvl.data.sources.pairs import list_units

        units = list_units(options.input, options.source, columns)
        print("\n".join(told(*dry_run(units, columns, recipe, options.dry_run), recipe)))
        return
    found = run(
        options.input,
        options.out,
        recipe,
        columns=columns,
        source=options.source,
        engine=options.engine,
        workers=options.workers,
        address=options.ray_address,
        memory_mib=options.memory,
        fresh=options.fresh,
    )
    rules = [*(rule.name for rule in recipe.rules), *(rule.name for rule in recipe.set_rules)]
    print("\n".join(summary_lines(found, rules)))
    print(f"\nthe kept pairs are in {options.out}; look at {options.out / 'report.html'}")


def _column(text: str) -> tuple[str, str]:
    what, _, name = text.partition("=")
    if what not in _COLUMNS or not name:
        raise UsageError(f"--column {text}: expected one of {', '.join(_COLUMNS)} and a name, such as caption=TEXT")
    return what, name
