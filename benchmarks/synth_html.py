"""How many web pages become pictures with lines in a core-second, the browser's CPU counted, and how much ink has a
label.

    python benchmarks/synth_html.py PAGES… [--pages 60] [--repeats 3] [--browser PROGRAM]

PAGES are HTML files or folders; each repeat draws the same ones in other looks. CPU is that of this process and of all
it started: Playwright's driver and Chromium's processes. Starting the browser is left out and printed by itself. Ink
are the pixels that differ from one beside them by more than 60 of 255.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from qwenvl.data.synth.html import HtmlPages, html_pages, units
from qwenvl.data.synth.pages import PageError
from qwenvl.sample import Record


def main() -> None:
    """Print the median of the repeats."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("files", type=Path, nargs="+", metavar="PAGES")
    p.add_argument("--pages", type=int, default=60, help="at most so many, evenly chosen")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--browser")
    options = p.parse_args()
    found = [(unit.root, name) for unit in units(options.files) for name in unit.files]
    chosen = found[:: max(1, len(found) // options.pages)][: options.pages]
    sources = [(name, (Path(root) / name).read_bytes()) for root, name in chosen]
    before = cpu()
    html_pages(browser=options.browser).record("first", b"<p>some words to begin with. " * 40)
    print(f"start: {cpu() - before:.2f} CPU-s")
    speeds, shares, pixels, dropped = [], [], [], Counter()
    for seed in range(options.repeats):
        maker = html_pages(seed, browser=options.browser)
        before = cpu()
        made = [record for name, data in sources if (record := one(maker, name, data, dropped))]
        used = cpu() - before
        speeds.append((len(sources) / used, len(made) / used))
        shares += [covered(record) for record in made]
        pixels += [record.images[0].width * record.images[0].height for record in made]
    seen, kept = (statistics.median(column) for column in zip(*speeds, strict=True))
    print(f"{seen:.1f} pages read, {kept:.1f} kept a core-second (median of {options.repeats} × {len(sources)} pages)")
    print(f"{statistics.mean(pixels) / 1e6:.2f} megapixels in the mean")
    print(f"labelled ink: {100 * np.average(shares):.2f} % in the mean, {100 * min(shares):.2f} % in the worst page")
    print(f"dropped: {dict(dropped)}")


def one(maker: HtmlPages, name: str, data: bytes, dropped: Counter[str]) -> Record | None:
    """A page, or None with its reason counted."""
    try:
        return maker.record(name, data)
    except PageError as error:
        dropped[error.why] += 1
        return None


def covered(record: Record) -> float:
    """The share of a picture's ink that lies in the quad of a line."""
    source = record.images[0].source
    assert isinstance(source, bytes)
    picture = np.asarray(Image.open(io.BytesIO(source)).convert("RGB")).astype(np.int16)
    ink = np.zeros(picture.shape[:2], bool)
    ink[1:] |= np.abs(np.diff(picture, axis=0)).max(2) > 60
    ink[:, 1:] |= np.abs(np.diff(picture, axis=1)).max(2) > 60
    inside = np.zeros_like(ink)
    for line in record.lines:
        box = line.quad.box
        inside[max(0, int(box.y0) - 1) : int(box.y1) + 2, max(0, int(box.x0) - 1) : int(box.x1) + 2] = True
    return float((ink & inside).sum() / max(1, ink.sum()))


def cpu() -> float:
    """CPU-seconds of this process and its descendants, those that ended counted by their parents."""
    tick = os.sysconf("SC_CLK_TCK")
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            table[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15])) / tick
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        parent = waiting.pop()
        total += table.get(parent, (0, 0.0))[1]
        waiting += [child for child, (of, _) in table.items() if of == parent]
    return total


if __name__ == "__main__":
    main()
