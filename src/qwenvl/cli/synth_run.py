"""What the verbs of `qwenvl synth` share: the options of a run, and what is said at its end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import positive

if TYPE_CHECKING:
    from qwenvl.data.synth.run import Made


def run_options(p: argparse.ArgumentParser) -> None:
    """--workers, --engine, --ray-address, --fresh."""
    p.add_argument("--workers", type=positive, help="processes, or with ray units at a time (default: the cores)")
    p.add_argument("--engine", choices=("pool", "ray"), default="pool", help="this machine (default), or a Ray cluster")
    p.add_argument("--ray-address", metavar="ADDRESS", help="the cluster: auto, host:port, ray://…")
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")


def how(options: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `qwenvl.data.synth.run.make` that the options give."""
    if options.ray_address and options.engine != "ray":
        raise UsageError("--ray-address is for --engine ray")
    return {
        "engine": options.engine,
        "workers": options.workers,
        "address": options.ray_address,
        "fresh": options.fresh,
    }


def tell(made: Made, out: Path, noun: str) -> None:
    """Print what was made, what was dropped and why, and where to look."""
    print(f"{made.rows:,} {noun} in {out}")
    for title, counts in (("counted", made.counted), ("dropped", made.dropped)):
        for name, count in sorted(counts.items(), key=lambda entry: -entry[1]):
            print(f"  {title} {count:,}: {name}")
    if made.rows:
        print(f"look at {out / 'contact.png'}, or: qwenvl inspect {out} --task ocr --html page.html")
