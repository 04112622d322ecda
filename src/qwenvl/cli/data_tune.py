"""`qwenvl data tune`: bars that keep a wanted share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, verb

if TYPE_CHECKING:
    from qwenvl.data.clean.tune import Bar


def add(verbs: Verbs) -> None:
    """Register `tune`."""
    p = verb(verbs, "tune", tune, "propose a rule's bar per source, from the numbers of a cleaning run")
    p.add_argument("out", type=Path, metavar="OUT", help="the output folder of `qwenvl data clean`")
    p.add_argument(
        "--keep",
        action="append",
        required=True,
        metavar="[SOURCE=]SHARE",
        help="share of the pairs read that shall stay, such as 0.21 or laion-en=14%%; may be given for each source",
    )
    p.add_argument("--rule", default="clip_score", help="any rule that measures numbers (default: %(default)s)")
    p.add_argument("--bound", choices=("min", "max"), help="smallest or largest number (default: what the rule is for)")


def tune(options: argparse.Namespace) -> None:
    """`qwenvl data tune`."""
    from qwenvl.data.clean.tune import as_recipe
    from qwenvl.data.clean.tune import tune as propose

    ledgers = sorted(options.out.glob("pass1/*.ledger.parquet"))
    bars = propose(ledgers, options.rule, dict(map(_share, options.keep)), options.bound)
    width = max(6, *(len(bar.source) for bar in bars))
    print(f"{'source':{width}}  {'read':>12}  {'reach it':>12}  {'wanted':>7}  {'bar':>10}  {'kept':>7}  pairs")
    for bar in bars:
        text = "none" if bar.bar is None else f"{bar.side} {bar.bar:g}"
        print(
            f"{bar.source:{width}}  {bar.read:12,}  {bar.reach:12,}  {bar.wanted:7.1%}  {text:>10}  "
            f"{bar.kept / bar.read:7.1%}  {bar.kept:,}"
        )
    for line in filter(None, map(_remark, bars)):
        print(line)
    print(f"\nfor the recipe:\n{as_recipe(options.rule, bars)}")


def _remark(bar: Bar) -> str:
    """What the numbers of a source do not tell by themselves."""
    if bar.bar is None:
        scored = bar.unmeasured <= bar.wanted * bar.read
        why = "is all that other rules leave" if scored else "are kept without a number"
        return f"{bar.source}: no bar gives {bar.wanted:.1%}: {bar.kept / bar.read:.1%} {why}"
    if bar.unjudged:
        return (
            f"{bar.source}: {bar.unjudged:,} pairs that the rule dropped were not seen by the rules behind it, "
            "so fewer may stay: a run without its bar gives exact numbers"
        )
    return ""


def _share(text: str) -> tuple[str, float]:
    source, _, number = text.rpartition("=")
    try:
        share = float(number.rstrip("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--keep {text}: expected a share such as 0.21, 21%, or laion-en=0.14")
    return source, share
