"""`qwenvl synth documents`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb
from qwenvl.cli.synth_run import how, run_options, tell


def add(verbs: Verbs) -> None:
    """Register `documents`."""
    p = verb(
        verbs, "documents", run, "draw documents in English and Chinese with the place of every line; continues a run"
    )
    p.add_argument("out", type=Path, metavar="OUTPUT", help="folder of the shards")
    p.add_argument("--count", type=positive, default=1000, help="how many documents (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--language", choices=("en", "zh"), action="append", help="only this one (default: both)")
    p.add_argument(
        "--text", type=Path, action="append", default=[], metavar="FILE",
        help="UTF-8 text to set, in English or Chinese (repeatable; default: sentences that come with the package)",
    )  # fmt: skip
    p.add_argument(
        "--font-dir", type=Path, action="append", default=[], metavar="DIR", help="a folder of fonts (repeatable)"
    )
    p.add_argument("--no-system-fonts", action="store_true", help="leave the system's fonts out")
    p.add_argument(
        "--photos", type=Path, action="append", default=[], metavar="DIR",
        help="a folder of photographs to lay documents on (repeatable; default: generated surfaces alone)",
    )  # fmt: skip
    p.add_argument(
        "--long-side", type=positive, nargs=2, default=(448, 1280), metavar=("FROM", "TO"),
        help="pixels of the longer side (default: 448 1280)",
    )  # fmt: skip
    p.add_argument(
        "--smallest", type=positive, default=12, metavar="PIXELS",
        help="least height of text in the picture, per em (default: %(default)s)",
    )  # fmt: skip
    run_options(p)


def run(options: argparse.Namespace) -> None:
    """`qwenvl synth documents`."""
    keywords = how(options)
    from qwenvl.data.synth.documents import documents, spans
    from qwenvl.data.synth.run import make

    maker = documents(
        options.seed,
        languages=options.language or ("en", "zh"),
        texts=options.text,
        font_folders=options.font_dir,
        system_fonts=not options.no_system_fonts,
        photo_folders=options.photos,
        long_side=tuple(options.long_side),
        smallest=options.smallest,
    )
    made = make(maker, spans(options.count), options.out, **keywords)
    tell(made, options.out, maker.noun)
