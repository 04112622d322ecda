"""How full packed rows are, and how many samples a core-second are planned into them.

    python benchmarks/pack_speed.py [--samples 60000] [--repeats 5] [--against OTHER/src]

Samples of one task whose lengths are log-normal (median 200 tokens, sigma 0.8, cut at the row's 2,048), one picture of
64 slots in those longer than 80. Beside the packer at several buffers: what a row holds when samples come as they are,
and with each sample put where it fits best among open rows. `--against` has another version's sources take turns.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROW = 2048
BUFFERS = (64, 256, 1000)
SOURCES = Path(__file__).parents[1] / "src"


def main() -> None:
    """Print a table of buffers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path, metavar="OTHER/src")
    parser.add_argument("--measure", type=int, metavar="BUFFER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.samples)))
        return
    lengths = draw_lengths(options.samples)
    for name, fill in (("as they come", as_they_come(lengths)), ("best fit in 32 open rows", best_fit(lengths, 32))):
        print(f"{name:26} {100 * fill:6.2f} % full")
    versions = [SOURCES, *([options.against.resolve()] if options.against else [])]
    for buffer in BUFFERS:
        for version in versions:
            runs = [_apart(version, buffer, options.samples) for _ in range(options.repeats)]
            speed = statistics.median(run["speed"] for run in runs)
            name = f"packer, buffer {buffer}" + ("" if version == SOURCES else ", other")
            about = "emptiest {least:.1%} full, its samples {apart} apart at most".format(**runs[0])
            print(f"{name:26} {100 * runs[0]['fill']:6.2f} % full, {speed:8,.0f} samples a core-second; {about}")


def _apart(version: Path, buffer: int, samples: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(buffer), "--samples", str(samples)]
    environment = {**os.environ, "PYTHONPATH": str(version)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def draw_lengths(count: int) -> list[int]:
    """The mix of lengths."""
    draw = random.Random(0)
    return [max(8, min(ROW, round(draw.lognormvariate(5.3, 0.8)))) for _ in range(count)]


def measure(buffer: int, count: int) -> dict[str, float]:
    """Plan all samples, each of a picture of its own."""
    from qwenvl.data.pack import Packer
    from qwenvl.sample import Image
    from qwenvl.text.render import Example, ImageSlot

    def example(number: int, length: int) -> Any:
        ids = list(range(length))
        slots = (ImageSlot(1, 64, Image(str(number).encode(), 8, 8)),) if length > 80 else ()
        return Example(ids, [-100] * (length // 2) + ids[length // 2 :], slots, "vqa", "made", str(number))

    examples = [example(number, length) for number, length in enumerate(draw_lengths(count))]
    packer = Packer(ROW, buffer)
    # earlier versions had no plan apart from the row's tokens
    plan = getattr(packer, "plan", packer.add)
    # else the collector walks over all samples, which in training are not there at once
    gc.freeze()
    begun = time.process_time()
    rows = [row for number, made in enumerate(examples) for row in plan([made], number)]
    spent = time.process_time() - begun
    about = [_about(row) for row in rows]
    used = [tokens for tokens, _ in about]
    apart = max(max(draws) - min(draws) for _, draws in about)
    return {"speed": count / spent, "fill": sum(used) / ROW / len(rows), "least": min(used) / ROW, "apart": apart}


def _about(row: Any) -> tuple[int, list[int]]:
    """The tokens of a row or a plan, and the numbers of its samples."""
    if isinstance(row, list):
        return sum(group.length for group in row), [group.draw for group in row]
    return len(row.ids), [draw for draw, _ in row.groups]


def as_they_come(lengths: list[int]) -> float:
    """How full rows are that take samples in order until one does not fit."""
    rows, used = 1, 0
    for length in lengths:
        if used + length > ROW:
            rows, used = rows + 1, 0
        used += length
    return sum(lengths) / (rows * ROW)


def best_fit(lengths: list[int], most: int) -> float:
    """How full rows are when each sample goes where it leaves least; the fullest row goes when more are open."""
    rows, left = 0, []
    for length in lengths:
        fitting = [space for space in left if space >= length]
        space = min(fitting) if fitting else ROW
        if fitting:
            left.remove(space)
        left.append(space - length)
        if len(left) > most:
            left.remove(min(left))
            rows += 1
    return sum(lengths) / ((rows + len(left)) * ROW)


if __name__ == "__main__":
    main()
