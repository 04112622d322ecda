"""`qwenvl synth html`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb
from qwenvl.cli.synth_run import how, run_options, tell


def add(verbs: Verbs) -> None:
    """Register `html`."""
    p = verb(verbs, "html", run, "draw web pages in looks by chance with the place of every line; continues a run")
    p.add_argument(
        "pages", nargs="+", metavar="INPUT", help="HTML files, WARC files, folders of them, patterns; paths or URLs"
    )
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the shards")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--browser", metavar="PROGRAM", help="a Chromium or Chrome (default: one that is installed)")
    p.add_argument("--seconds", type=positive, default=10, help="time limit of a page (default: %(default)s)")
    run_options(p)


def run(options: argparse.Namespace) -> None:
    """`qwenvl synth html`."""
    keywords = how(options)
    from qwenvl.data.synth.html import html_pages, units
    from qwenvl.data.synth.run import make

    maker = html_pages(options.seed, browser=options.browser, seconds=float(options.seconds))
    made = make(maker, units(options.pages), options.out, **keywords)
    tell(made, options.out, maker.noun)
