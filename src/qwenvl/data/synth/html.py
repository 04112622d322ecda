"""Pictures of web pages with the quad of every line of text (paper, section 3.1 and appendix A: HTML pages from Common
Crawl).

A page's look depends on the seed and its name alone. Pages come from strangers: `qwenvl.data.synth.html_browser` keeps
them from reaching anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.data.images import load_image
from qwenvl.data.synth.html_browser import Browser, BrowserGone, Shot, find
from qwenvl.data.synth.html_filter import HtmlLimits, check_shot, check_source
from qwenvl.data.synth.html_lines import text_lines
from qwenvl.data.synth.html_source import decode
from qwenvl.data.synth.html_style import Look, look
from qwenvl.data.synth.inputs import Documents, list_documents, read_documents
from qwenvl.data.synth.pages import Kept, PageError
from qwenvl.data.synth.run import Tally
from qwenvl.sample import Record

SUFFIXES = (".html", ".htm", ".xhtml", ".shtml")
_TYPES = ("text/html", "application/xhtml+xml")
_PER_UNIT = 200
_TRIES = 2


@dataclass(frozen=True)
class HtmlPages:
    """The maker of pictures of web pages; `html_pages` makes one and checks that there is a browser."""

    seed: int
    browser: str
    seconds: float = 10.0
    limits: HtmlLimits = field(default_factory=HtmlLimits)
    name: str = field(default="html", init=False)
    noun: str = field(default="pages", init=False)

    def settings(self) -> Mapping[str, Any]:
        """As in `Maker`."""
        return {"seed": self.seed, "seconds": self.seconds, "limits": self.limits.settings()}

    def records(self, unit: Documents, tally: Tally) -> Iterator[Record]:
        """As in `Maker`."""
        for name, data, content_type, _ in read_documents(unit, _TYPES, self.limits.max_bytes, tally):
            tally.counted["pages seen"] += 1
            try:
                made = self.record(name, data, content_type)
            except PageError as error:
                tally.dropped[error.why] += 1
                continue
            tally.counted["lines"] += len(made.lines)
            yield made

    def record(self, name: str, data: bytes, content_type: str = "") -> Record:
        """The page of these bytes, as `name` and the seed set it. Raises PageError where it is not to be used."""
        if len(data) > self.limits.max_bytes:
            raise PageError("too large a file")
        source = decode(data, content_type)
        check_source(source)
        how = look(random.Random(f"html {self.seed} {name}"))
        shot = self._draw(source, how)
        if not shot.image:
            raise PageError("no line whole in the window" if shot.letters else "too little text")
        image = load_image(shot.image)
        lines = text_lines(shot.lines, shot.top, shot.bottom, shot.width, how.scale)
        check_shot(shot, image.width, image.height, lines, self.limits)
        if shot.missing:
            raise PageError("characters that no font here has")
        return Record(
            f"html-{self.seed}-{name}",
            "html",
            (image,),
            lines=lines,
            meta={"page": name, "scale": how.scale},
        )

    def _draw(self, source: str, how: Look) -> Shot:
        for tried in range(1, _TRIES + 1):
            try:
                browser = OPEN.get((self.browser, self.seconds), lambda: Browser(self.browser, self.seconds))
                return browser.draw(source, how)
            except BrowserGone as error:
                if error.slow:
                    raise PageError("took too long") from None
                if tried == _TRIES:
                    raise PageError("the browser died of it") from None
        raise AssertionError


def html_pages(
    seed: int = 0, *, browser: str | None = None, seconds: float = 10.0, limits: HtmlLimits | None = None
) -> HtmlPages:
    """The maker of pictures of web pages, drawn by `browser` (a path or name; default: an installed Chromium).

    `seconds` is a page's time limit. Raises ImportError where there is no browser, or no Playwright.
    """
    import importlib

    importlib.import_module("playwright")
    return HtmlPages(seed, find(browser), seconds, limits or HtmlLimits())


def units(specs: Sequence[str | Path], each: int = _PER_UNIT) -> list[Documents]:
    """Files of HTML, folders, patterns and web archives as units of work; errors are those of `list_documents`."""
    return list_documents(specs, SUFFIXES, each)


OPEN: Kept[Browser] = Kept()
