"""The public formats by name, with their options, and `FORMAT:PATH?key=value&…` as a source."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qwenvl.data.sources.fields import Pictures
from qwenvl.data.sources.public.entry import Entry, opened, record_of
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.report import BadRows, DataError, RowError
from qwenvl.sample import Image, Record

Value = str | int | bool
Options = Mapping[str, Any]

_MODULES = (
    "refcoco",
    "ai2d",
    "chartqa",
    "coco",
    "docvqa",
    "dvqa",
    "flickr30k",
    "gqa",
    "grit",
    "hf",
    "icdar",
    "ocr",
    "ocrvqa",
    "pairs",
    "scienceqa",
    "synthdog",
    "textvqa",
    "visual_genome",
    "vizwiz",
    "vqa",
)  # fmt: skip
"""The readers: each has `FORMATS`."""

_SPEC = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]+):(?!//)(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a format: its default (whose type is the option's), what it may be, and one line for people."""

    default: Value
    about: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A public format: `entries(path, options, reading)` gives what its annotation says, no picture opened.

    `about` says in one line what it is, what to download and from where. Every format has the options `images` and
    `split` too. Where `file` is false the path is none of this machine (a pattern, an address).
    """

    name: str
    about: str
    entries: Callable[[Path, Options, Reading], Iterator[Entry]]
    options: Mapping[str, Option] = field(default_factory=dict)
    file: bool = True


COMMON: Mapping[str, Option] = {
    "images": Option("", "folder of the pictures; default: the folder of the annotation"),
    "split": Option("", "only rows of this split, as the set names it; default: all"),
}

CAPTIONS = Option(
    "longest", "of several captions of a picture: the longest (the paper's rule) or all", ("longest", "all")
)
"""The option `captions` of formats with several captions a picture."""


def formats() -> dict[str, Format]:
    """All formats by name, sorted."""
    found: dict[str, Format] = {}
    for name in _MODULES:
        module = importlib.import_module(f"qwenvl.data.sources.public.{name}")
        found |= {one.name: one for one in module.FORMATS}
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class PublicSource:
    """A spec that was understood: the format, where its annotation lies, and all its options."""

    format: Format
    path: Path
    options: Options

    def entries(self, reading: Reading) -> Iterator[Entry]:
        """The entries of the split asked for. Raises DataError where there is none of it."""
        wanted = self.options["split"]
        others: set[str] = set()
        found = False
        for entry in self.format.entries(self.path, self.options, reading):
            if wanted and entry.split != wanted:
                others.add(entry.split)
                continue
            found = True
            yield entry
        if wanted and others and not found:
            have = ", ".join(sorted(others - {""})) or "rows that do not say their split (leave split= out)"
            raise DataError(f"{self.path}: no row of split {wanted!r}; there are {have}")


def is_public(spec: str) -> bool:
    """Whether a spec has the form FORMAT:PATH and is no file itself."""
    return split_spec(spec)[0] != ""


def split_spec(spec: str) -> tuple[str, str, list[tuple[str, str]]]:
    """The format, the path and the options of `FORMAT:PATH?key=value&…`; "" for the format where there is none, or
    where the whole is a file's name. A "?" without "=" after it belongs to the path (a pattern).
    """
    match = None if Path(spec).exists() else _SPEC.fullmatch(spec)
    name, rest = match.groups() if match else ("", spec)
    path, mark, query = rest.rpartition("?")
    return (name, path, split_options(query)) if mark and "=" in query else (name, rest, [])


def split_options(query: str) -> list[tuple[str, str]]:
    """The options of `key=value&…`."""
    pairs = (item.partition("=") for item in query.split("&") if item)
    return [(key, unquote(value)) for key, _, value in pairs]


def parse(spec: str) -> PublicSource:
    """The source of a spec. Raises DataError for a format, option or value that does not exist, naming the nearest."""
    name, path, options = split_spec(spec)
    if not name:
        raise DataError(f"{spec}: expected FORMAT:PATH?key=value&…")
    known = formats()
    if name not in known:
        raise DataError(f"{spec}: unknown format {name!r}{_near(name, known)}; there are {', '.join(known)}")
    settings = {**known[name].options, **{key: COMMON[key] for key in COMMON if key not in known[name].options}}
    values: dict[str, Value] = {key: option.default for key, option in settings.items()}
    for key, text in options:
        if key not in settings:
            raise DataError(f"{spec}: {name} has no option {key!r}{_near(key, settings)}; it has {', '.join(settings)}")
        values[key] = _value(text, settings[key], f"{spec}: {key}")
    found = Path(path)
    if known[name].file and not found.exists():
        raise DataError(f"{path}: no such file or folder; {name} is {known[name].about}")
    return PublicSource(known[name], found, values)


def read_entries(spec: str, report: BadRows | None = None, strict: bool = True) -> Iterator[Entry]:
    """What the annotation of a public source says, without its pictures: for evaluation and for looking.

    Bad rows end the reading with DataError, or without `strict` are counted in `report`.
    """
    report = report if report is not None else BadRows()
    for entry in parse(spec).entries(Reading(report, strict)):
        report.good += 1
        yield entry


def open_public(spec: str, strict: bool, report: BadRows, image_root: str | Path | None = None) -> Iterator[Record]:
    """The records of a public source; `image_root` stands for the option `images`.

    Raises DataError as `open_source` does.
    """
    source = parse(spec)
    return _records(source, _pictures(source, spec, image_root), strict, report)


def open_pictures(spec: str, report: BadRows) -> Iterator[tuple[str, Image]]:
    """The pictures of a public source with the ids of their rows, whether or not there is anything to learn from: test
    splits keep their answers back. Rows whose picture can not be opened are counted in `report`. Raises DataError.
    """
    source = parse(spec)
    pictures, reading = _pictures(source, spec, None), Reading(report, strict=False)
    for entry in source.entries(reading):
        image = None
        with reading.row(entry.at):
            image = opened(entry, pictures)
        if image is not None:
            yield entry.id, image


def _pictures(source: PublicSource, spec: str, image_root: str | Path | None) -> Pictures:
    root = Path(str(source.options["images"]) or image_root or "") if source.options["images"] or image_root else None
    if root is not None and not root.is_dir():
        raise DataError(f"{spec}: no folder {root} for the pictures")
    own = source.path if source.path.is_dir() else source.path.parent
    return Pictures(root or own, allow_absolute=root is not None)


def _records(source: PublicSource, pictures: Pictures, strict: bool, report: BadRows) -> Iterator[Record]:
    reading = Reading(report, strict)
    good, before = 0, report.count
    longest = source.options.get("captions") == "longest"
    for entry in source.entries(reading):
        at = entry.at
        try:
            note = lambda what, at=at: report.note(at.file, at.spot, what)  # noqa: E731
            record = record_of(entry, pictures, source.format.name, note, longest)
        except RowError as error:
            reading.bad(at, error)
            continue
        good += 1
        report.good += 1
        yield record
    if not good:
        first = f"; the first: {report.first}" if report.first else ""
        raise DataError(f"{source.path}: no usable row ({report.count - before} skipped{first})")


def _value(text: str, option: Option, where: str) -> Value:
    if isinstance(option.default, bool):
        if text not in ("true", "false"):
            raise DataError(f"{where} must be true or false, not {text!r}")
        return text == "true"
    if isinstance(option.default, int):
        if not (text.isascii() and text.isdigit()):
            raise DataError(f"{where} must be a whole number, not {text!r}")
        return int(text)
    if option.choices and text not in option.choices:
        raise DataError(
            f"{where} must be one of {', '.join(option.choices)}, not {text!r}{_near(text, option.choices)}"
        )
    return text


def _near(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
