"""Pictures of PDF pages with the box of every line of text (paper, section 3.1 and appendix A: PDFs from Common Crawl).

Which pages are kept depends on the documents and the limits alone. `qwenvl.data.synth.pdf_reader` keeps what strangers
wrote in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.data.sources.warc import MAX_BYTES
from qwenvl.data.synth.inputs import Document, Documents, list_documents, read_documents
from qwenvl.data.synth.pages import Kept, PageError
from qwenvl.data.synth.pdf_page import Page, PageLimits
from qwenvl.data.synth.pdf_reader import BEYOND, PdfReader
from qwenvl.data.synth.run import Tally
from qwenvl.sample import Image, Record

_TYPES = ("application/pdf", "application/x-pdf")
_UNIT_FILES = 32


@dataclass(frozen=True)
class PdfPages:
    """The maker of pictures of PDF pages; `pdf_pages` makes one and checks that its packages are there.

    `seconds` of the processor's time is what a page may take, `most` how many pages a document gives.
    """

    limits: PageLimits = field(default_factory=PageLimits)
    seconds: float = 10.0
    most: int = 1000
    max_bytes: int = MAX_BYTES
    name: str = field(default="pdf", init=False)
    noun: str = field(default="pages", init=False)

    def settings(self) -> Mapping[str, Any]:
        """As in `Maker`."""
        own = {"seconds": self.seconds, "most": self.most, "max_bytes": self.max_bytes}
        return {**own, "limits": asdict(self.limits)}

    def records(self, unit: Documents, tally: Tally) -> Iterator[Record]:
        """As in `Maker`."""
        for document in read_documents(unit, _TYPES, self.max_bytes, tally):
            tally.counted["documents"] += 1
            try:
                reader = OPEN.get((self.limits, self.seconds), lambda: PdfReader(self.limits, self.seconds))
                for number, found in reader.pages(document.content, self.most):
                    if found == BEYOND:
                        tally.dropped[f"document: all after its first {number:,} pages"] += 1
                        continue
                    tally.counted["pages seen"] += 1
                    if isinstance(found, str):
                        tally.dropped[f"page: {found}"] += 1
                        continue
                    tally.counted["lines"] += len(found.lines)
                    yield _record(document, number, found)
            except PageError as error:
                tally.dropped[f"document: {error.why}"] += 1


def pdf_pages(limits: PageLimits | None = None, *, seconds: float = 10.0, most: int = 1000) -> PdfPages:
    """The maker of pictures of PDF pages. Raises ImportError without pypdfium2."""
    import importlib

    importlib.import_module("pypdfium2")
    return PdfPages(limits or PageLimits(), seconds, most)


def units(specs: Sequence[str | Path]) -> list[Documents]:
    """PDF files, folders, patterns and web archives as units of work; errors are those of `list_documents`."""
    return list_documents(specs, (".pdf",), _UNIT_FILES)


def _record(document: Document, number: int, page: Page) -> Record:
    meta: dict[str, Any] = {"document": document.name, "page": number + 1}
    if document.url:
        meta["url"] = document.url
    image = Image(page.jpeg, page.width, page.height)
    return Record(f"{document.name}#page={number + 1}", "pdf", (image,), lines=page.lines, meta=meta)


OPEN: Kept[PdfReader] = Kept()
