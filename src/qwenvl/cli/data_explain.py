"""`qwenvl data explain`: what every rule thinks of one pair."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register `explain`."""
    p = verb(
        verbs, "explain", explain, "tell what every rule thinks of one pair of a cleaning run, and what became of it"
    )
    p.add_argument("out", type=Path, metavar="OUT", help="the output folder of `qwenvl data clean`")
    p.add_argument("id", metavar="ID", help="as in the shards, dropped/ and the report: source/unit/key")


def explain(options: argparse.Namespace) -> None:
    """`qwenvl data explain`."""
    from qwenvl.data.clean.explain import explain as tell
    from qwenvl.data.clean.past import open_run

    print(tell(open_run(options.out), options.id))
