"""`qwenvl data describe`: what a source holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qwenvl.cli.options import Verbs, image_root_option, positive, verb

if TYPE_CHECKING:
    from qwenvl.sample import Record


def add(verbs: Verbs) -> None:
    """Register `describe`."""
    p = verb(verbs, "describe", describe, "count what a source holds: pictures, annotations, languages, boxes, lengths")
    p.add_argument(
        "source",
        metavar="SOURCE",
        help="a data file, a folder of shards, or FORMAT:PATH?key=value such as coco-captions:captions.json?images=DIR",
    )
    image_root_option(p)
    p.add_argument("--limit", type=positive, metavar="N", help="only the first N records")
    p.add_argument("--html", type=Path, metavar="PATH", help="write a page with histograms too")
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")


def describe(options: argparse.Namespace) -> None:
    """`qwenvl data describe`."""
    from tqdm import tqdm

    from qwenvl.data.describe import describe as count
    from qwenvl.data.describe import lines_of
    from qwenvl.data.describe_page import describe_page
    from qwenvl.data.sources import BadRows, open_source

    bad = BadRows(show=lambda message: tqdm.write(message, file=sys.stderr))
    records: Iterator[Record] = open_source(options.source, options.strict, bad, options.image_root)
    with tqdm(islice(records, options.limit), desc="describe", unit="record", disable=None) as bar:
        found = count(bar)
    lines = [*lines_of(found), ("rows skipped", f"{bad.count:,}")]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")
    if options.html:
        options.html.write_text(describe_page(options.source, found, bad), encoding="utf-8")
        print(f"wrote {options.html}")
