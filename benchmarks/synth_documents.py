"""Images per core-second of `qwenvl synth documents`: drawn, encoded, with quads, in one process.

    python benchmarks/synth_documents.py [--system-fonts] [--count 200] [--repeats 3]

Two sizes: 1.2 megapixels (long side about 1,300) and 448 to 1,000 pixels. CPU seconds, so other work on the machine
counts little; the median of the repeats, each over other pages, after one that fills the caches.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import cv2

from qwenvl.data.synth.documents import Span, documents
from qwenvl.data.synth.run import Tally


def main() -> None:
    """Print a line for each size."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--system-fonts", action="store_true", help="with the system's fonts, not the package's alone")
    p.add_argument("--count", type=int, default=200, help="pages of a repeat")
    p.add_argument("--repeats", type=int, default=3)
    options = p.parse_args()
    cv2.setNumThreads(1)
    for title, sides in (("1.2 megapixels", (1290, 1310)), ("448 to 1,000 px", (448, 1000))):
        maker = documents(0, system_fonts=options.system_fonts, long_side=sides)
        speeds, pixels, characters, pages = [], 0, 0, 0
        for repeat in range(options.repeats + 1):
            begin = time.process_time()
            found = list(maker.records(Span(repeat * options.count, (repeat + 1) * options.count), Tally()))
            seconds = time.process_time() - begin
            if repeat:
                speeds.append(len(found) / seconds)
            pages += len(found)
            pixels += sum(record.images[0].width * record.images[0].height for record in found)
            characters += sum(len(line.text) for record in found for line in record.lines)
        print(
            f"{title}: {statistics.median(speeds):.1f} images a core-second (from {min(speeds):.1f} to "
            f"{max(speeds):.1f}); each {pixels / pages / 1e6:.2f} megapixels, {characters / pages:.0f} characters"
        )
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
