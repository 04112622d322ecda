"""How many PDF pages become a JPEG with lines in a core-second; beside it poppler's two tools, if installed.

    python benchmarks/synth_pdf.py INPUT… [--most 20] [--repeats 3] [--long-side 1000]

INPUT are PDF files, folders or web archives; `most` pages of each document are read. CPU is that of this process and of
all it started, the reading process's start with it. Both sides run in turns; median of the repeats. Poppler's are
`pdftoppm -jpeg` and `pdftotext -bbox-layout`, one after the other on the same pages; it filters and joins nothing.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from qwenvl.data.sources.warc import MAX_BYTES
from qwenvl.data.synth.inputs import read_documents
from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.pdf import units
from qwenvl.data.synth.pdf_page import PageLimits
from qwenvl.data.synth.pdf_reader import BEYOND, PdfReader
from qwenvl.data.synth.run import Tally


def main() -> None:
    """Print the medians."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("inputs", nargs="+", metavar="INPUT")
    p.add_argument("--most", type=int, default=20, help="pages of a document (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--long-side", type=int, default=1000)
    options = p.parse_args()
    limits = PageLimits(long_side=options.long_side)
    contents = [
        document.content
        for unit in units(options.inputs)
        for document in read_documents(unit, ("application/pdf",), MAX_BYTES, Tally())
    ]
    tools = shutil.which("pdftoppm") and shutil.which("pdftotext")
    own, theirs = [], []
    for _ in range(options.repeats):
        before = cpu()
        seen, kept, why = read(contents, limits, options.most)
        own.append(seen / (cpu() - before))
        if tools:
            before = cpu()
            poppler(contents, options.long_side, options.most)
            theirs.append(seen / (cpu() - before))
    print(f"{seen} pages of {len(contents)} documents, {kept} kept; dropped: {dict(why.most_common())}")
    print(f"{statistics.median(own):.1f} pages a core-second ({min(own):.1f} to {max(own):.1f})")
    if theirs:
        ratio = statistics.median(own) / statistics.median(theirs)
        print(f"poppler: {statistics.median(theirs):.1f}; {ratio:.1f} times as many here")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process started: {largest:.0f} MiB")


def read(contents: list[bytes], limits: PageLimits, most: int) -> tuple[int, int, Counter[str]]:
    """Pages seen and kept, and why others were dropped."""
    reader = PdfReader(limits, 10.0)
    seen = kept = 0
    why: Counter[str] = Counter()
    for content in contents:
        try:
            for _, found in reader.pages(content, most):
                if found == BEYOND:
                    continue
                seen += 1
                if isinstance(found, str):
                    why[found] += 1
                else:
                    kept += 1
        except PageError as error:
            why[error.why] += 1
    reader.close()
    return seen, kept, why


def poppler(contents: list[bytes], long_side: int, most: int) -> None:
    """The same pages drawn and read by poppler."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pdf"
        for content in contents:
            path.write_bytes(content)
            for command in (
                ["pdftoppm", "-jpeg", "-scale-to", str(long_side), "-l", str(most), str(path), f"{folder}/page"],
                ["pdftotext", "-bbox-layout", "-l", str(most), str(path), f"{folder}/text"],
            ):
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            for made in Path(folder).glob("page*"):
                made.unlink()


def cpu() -> float:
    """CPU seconds of this process and of those it started that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
