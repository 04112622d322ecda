"""`qwenvl synth pdf`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb
from qwenvl.cli.synth_run import how, run_options, tell


def add(verbs: Verbs) -> None:
    """Register `pdf`."""
    p = verb(verbs, "pdf", run, "draw the pages of PDFs with the place of every line; continues a run")
    p.add_argument(
        "documents", nargs="+", metavar="INPUT", help="PDF files, WARC files, folders of them, patterns; paths or URLs"
    )
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the shards")
    p.add_argument(
        "--long-side", type=positive, default=1000, metavar="PIXELS",
        help="of the pictures' longer side (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--smallest", type=positive, default=4, metavar="PIXELS",
        help="pages with lower lines are dropped (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--seconds", type=positive, default=10, help="time limit of a page (default: %(default)s)")
    p.add_argument(
        "--most", type=positive, default=1000, metavar="PAGES", help="of each document (default: %(default)s)"
    )
    run_options(p)


def run(options: argparse.Namespace) -> None:
    """`qwenvl synth pdf`."""
    keywords = how(options)
    from qwenvl.data.synth.pdf import pdf_pages, units
    from qwenvl.data.synth.pdf_page import PageLimits
    from qwenvl.data.synth.run import make

    limits = PageLimits(long_side=options.long_side, min_height=float(options.smallest))
    maker = pdf_pages(limits, seconds=float(options.seconds), most=options.most)
    made = make(maker, units(options.documents), options.out, **keywords)
    tell(made, options.out, maker.noun)
