"""Pictures of web pages with the quad of every line of text (paper, section 3.1 and appendix A: HTML pages from Common
Crawl).

A page's look depends on the seed and its name alone. Pages come from strangers: `qwenvl.data.synth.html_browser` keeps
them from reaching anything.
"""

from __future__ import annotations

import atexit
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.data.images import load_image
from qwenvl.data.sources.warc import SUFFIXES as WARCS
from qwenvl.data.sources.warc import responses
from qwenvl.data.synth.html_browser import Browser, BrowserGone, Shot, find
from qwenvl.data.synth.html_filter import HtmlError, HtmlLimits, check_shot, check_source
from qwenvl.data.synth.html_lines import text_lines
from qwenvl.data.synth.html_source import decode
from qwenvl.data.synth.html_style import Look, look
from qwenvl.data.synth.run import Tally
from qwenvl.sample import Record

SUFFIXES = (".html", ".htm", ".xhtml", ".shtml")
_TYPES = ("text/html", "application/xhtml+xml")
_PER_UNIT = 200
_TRIES = 2


class HtmlInputError(ValueError):
    """The pages to draw are not there; the message says which and what was expected."""


@dataclass(frozen=True)
class Pages:
    """A share of the input: files below `root`, or the one WARC file `root`."""

    root: str
    files: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """What the unit is called."""
        return f"{self.root}/{self.files[0]} and {len(self.files) - 1} more" if self.files else self.root


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

    def records(self, unit: Pages, tally: Tally) -> Iterator[Record]:
        """As in `Maker`."""
        for name, data, content_type in _sources(unit, self.limits, tally):
            tally.counted["pages seen"] += 1
            try:
                made = self.record(name, data, content_type)
            except HtmlError as error:
                tally.dropped[error.why] += 1
                continue
            tally.counted["lines"] += len(made.lines)
            yield made

    def record(self, name: str, data: bytes, content_type: str = "") -> Record:
        """The page of these bytes, as `name` and the seed set it. Raises HtmlError where it is not to be used."""
        if len(data) > self.limits.max_bytes:
            raise HtmlError("too large a file")
        source = decode(data, content_type)
        check_source(source)
        how = look(random.Random(f"html {self.seed} {name}"))
        shot = self._draw(source, how)
        if not shot.image:
            raise HtmlError("no line whole in the window" if shot.letters else "too little text")
        image = load_image(shot.image)
        lines = text_lines(shot.lines, shot.top, shot.bottom, shot.width, how.scale)
        check_shot(shot, image.width, image.height, lines, self.limits)
        if shot.missing:
            raise HtmlError("characters that no font here has")
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
                return _browser(self.browser, self.seconds).draw(source, how)
            except BrowserGone as error:
                if error.slow:
                    raise HtmlError("took too long") from None
                if tried == _TRIES:
                    raise HtmlError("the browser died of it") from None
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


def units(paths: Sequence[Path], each: int = _PER_UNIT) -> list[Pages]:
    """Files of HTML, WARC files, and folders of both, as units of work. Raises HtmlInputError where there are none."""
    made: list[Pages] = []
    for path in paths:
        if path.is_dir():
            found = sorted(one for one in path.rglob("*") if one.is_file())
            pages = [str(one.relative_to(path)) for one in found if one.name.lower().endswith(SUFFIXES)]
            made += [Pages(str(path), tuple(pages[at : at + each])) for at in range(0, len(pages), each)]
            made += [Pages(str(one)) for one in found if one.name.lower().endswith(WARCS)]
        elif not path.is_file():
            raise HtmlInputError(f"{path}: no such file or folder")
        elif path.name.lower().endswith(WARCS):
            made.append(Pages(str(path)))
        else:
            made.append(Pages(str(path.parent), (path.name,)))
    if not made:
        raise HtmlInputError(
            f"{', '.join(map(str, paths))}: no page there; expected files that end in {', '.join((*SUFFIXES, *WARCS))}"
        )
    return _joined(made, each)


def _joined(made: Sequence[Pages], each: int) -> list[Pages]:
    """Single files of one folder, side by side on the command line, as one unit."""
    found: list[Pages] = []
    for unit in made:
        last = found[-1] if found else None
        if last and last.files and unit.files and last.root == unit.root and len(last.files) + len(unit.files) <= each:
            found[-1] = Pages(last.root, last.files + unit.files)
        else:
            found.append(unit)
    return found


def _sources(unit: Pages, limits: HtmlLimits, tally: Tally) -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes and content type of a unit's pages."""
    if not unit.files:
        name = Path(unit.root).name
        skipped: Counter[str] = Counter()
        try:
            for found in responses(unit.root, _TYPES, skipped, limits.max_bytes):
                yield f"{name}/{found.number}", found.content, found.content_type
        finally:
            tally.dropped.update({f"archive: {why}": count for why, count in skipped.items()})
        return
    for name in unit.files:
        try:
            with (Path(unit.root) / name).open("rb") as file:
                yield f"{Path(unit.root).name}/{name}", file.read(limits.max_bytes + 1), ""
        except OSError:
            tally.counted["pages seen"] += 1
            tally.dropped["file that can not be read"] += 1


_OPEN: dict[tuple[str, float], Browser] = {}
"""A worker's browser: it is kept from unit to unit, as starting one takes as long as ten pages."""


def _browser(path: str, seconds: float) -> Browser:
    key = path, seconds
    if key not in _OPEN:
        _close()
        _OPEN[key] = Browser(path, seconds)
    return _OPEN[key]


@atexit.register
def _close() -> None:
    while _OPEN:
        _OPEN.popitem()[1].close()
