"""`qwenvl quantize`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "quantize", run, "write a model with its linear layers' weights in 8 or 4 bits")
    p.add_argument("model", metavar="MODEL", help="a checkpoint folder, or nano")
    p.add_argument("out", type=Path, metavar="OUT", help="folder of the quantised model; must be empty or absent")
    p.add_argument("--bits", type=int, default=8, help="8 (default) or 4")
    p.add_argument("--vision", action="store_true", help="the vision tower too, not the decoder alone")


def run(options: argparse.Namespace) -> None:
    """`qwenvl quantize`."""
    from qwenvl.model.quantize import write_quantized

    done, left = write_quantized(options.model, options.out, options.bits, options.vision)
    note = f" ({left} others have no shape for it and stay)" if left else ""
    print(f"{options.out}: {done} layers in {options.bits} bits{note}, the rest in bfloat16. Talk to it:")
    print(f"  qwenvl chat --model {options.out}")
