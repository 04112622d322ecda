"""Flickr30k: captions by Karpathy's splits or the published token file, and Flickr30k Entities' phrases with boxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from qwenvl.data.sources.public.coco import karpathy_entries
from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.reading import Reading
from qwenvl.data.sources.public.registry import CAPTIONS, Format, Option, Options
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.sample import Box, Caption, Phrase

_LINE = re.compile(r"(?P<name>[^#\t]+)#\d+\t(?P<caption>.*\S)\s*")
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/\w+)+) ([^\]]*\S) ?\]")
_MOST = 1 << 20
"""Bytes of one picture's annotation that are read at most."""

_UNSEEN = "notvisual"


def caption_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture with its captions: of dataset_flickr30k.json, or of results_20130124.token."""
    if path.suffix == ".json":
        yield from karpathy_entries(path, options, reading)
        return
    for name, lines in groupby(_token_lines(path, reading), key=lambda line: line[1]):
        found = list(lines)
        captions = tuple(Caption(caption) for _, _, caption in found)
        yield Entry(f"{path.stem}-{Path(name).stem}", name, found[0][0], captions=captions)


def _token_lines(path: Path, reading: Reading) -> Iterator[tuple[At, str, str]]:
    """Place, picture and caption of each line "1000092795.jpg#0<tab>Two young guys …"."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                at = At(str(path), Spot(number))
                with reading.row(at):
                    match = _LINE.fullmatch(line)
                    if match is None:
                        raise RowError("", "expected NAME.jpg#NUMBER, a tab and the caption")
                    yield at, match["name"], match["caption"]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def entity_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture of a folder with `Sentences/*.txt` and `Annotations/*.xml`: captions with grounded phrases.

    `ids` names a file of ids a line (train.txt, val.txt, test.txt of the set). A phrase without boxes stays words.
    Raises DataError where a folder or the file of ids is missing.
    """
    sentences, annotations = path / "Sentences", path / "Annotations"
    for folder in (sentences, annotations):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; expected Sentences/ and Annotations/ of Flickr30k Entities")
    for file in _chosen(sentences, str(options["ids"])):
        at = At(str(file), Spot(1))
        with reading.row(at):
            size, boxes = _boxes(annotations / f"{file.stem}.xml")
            captions = tuple(_grounded(line, boxes) for line in _text(file).splitlines() if line.strip())
            if not captions:
                raise RowError("", "has no sentence")
            texts = {text: places for caption in captions for text, places in _phrases(caption)}
            yield Entry(
                id=f"flickr30k-{file.stem}",
                image=f"{file.stem}.jpg",
                at=at,
                size=size,
                captions=captions,
                phrases=tuple(Phrase(text, places) for text, places in texts.items()),
            )


def _chosen(folder: Path, ids: str) -> Iterator[Path]:
    if not ids:
        yield from sorted(folder.glob("*.txt"))
        return
    try:
        names = Path(ids).read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"ids={ids}: {error.strerror or error}") from error
    for name in names:
        yield folder / f"{Path(name).stem}.txt"


def _grounded(line: str, boxes: dict[str, tuple[Box, ...]]) -> Caption:
    """A sentence "[/EN#1/people Two young guys] with [/EN#0/notvisual …]" as words and ranges with boxes."""
    words, spans, end = "", [], 0
    for match in _PHRASE.finditer(line):
        words += line[end : match.start()]
        start, end = len(words), match.end()
        words += match[3]
        found = () if _UNSEEN in match[2] else boxes.get(match[1], ())
        if found:
            spans.append((start, len(words), found))
    words += line[end:]
    stripped = words.rstrip()
    return Caption(stripped, spans=tuple(span for span in spans if span[1] <= len(stripped)))


def _phrases(caption: Caption) -> Iterator[tuple[str, tuple[Box, ...]]]:
    for start, end, boxes in caption.spans:
        yield caption.text[start:end], boxes


def _boxes(path: Path) -> tuple[tuple[int, int] | None, dict[str, tuple[Box, ...]]]:
    """The picture's size and the boxes by entity. Raises RowError."""
    text = _text(path)
    # entities and external references have no place in these files
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise RowError("", f"{path.name} declares a document type, which annotations never do")
    try:
        root = ElementTree.fromstring(text)
        size = (int(root.findtext("size/width", "0")), int(root.findtext("size/height", "0")))
        found: dict[str, list[Box]] = {}
        for item in root.iter("object"):
            corners = [item.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
            if None in corners:
                continue  # "scene" and "nobox" have none
            x0, y0, x1, y1 = (float(corner or "") for corner in corners)
            if x1 > x0 and y1 > y0:
                for name in item.iter("name"):
                    # the set counts pixels from 1
                    found.setdefault(name.text or "", []).append(Box(x0 - 1, y0 - 1, x1, y1))
    except (ElementTree.ParseError, ValueError) as error:
        raise RowError("", f"{path.name} can not be read: {error}") from None
    return (size if min(size) > 0 else None), {name: tuple(boxes) for name, boxes in found.items()}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            held = file.read(_MOST + 1)
    except OSError as error:
        raise RowError("", f"{path.name}: {error.strerror or error}") from None
    if len(held) > _MOST:
        raise RowError("", f"{path.name} is larger than {_MOST >> 20} MiB")
    return held.decode("utf-8", "replace")


_FROM = "(shannon.cs.illinois.edu/DenotationGraph; pictures: flickr30k-images)"
FORMATS = [
    Format(
        "flickr30k",
        f"Flickr30k's captions: dataset_flickr30k.json or results_20130124.token {_FROM}",
        caption_entries,
        {"captions": CAPTIONS},
    ),
    Format(
        "flickr30k-entities",
        "the folder of Flickr30k Entities (github.com/BryanPlummer/flickr30k_entities, unzipped)",
        entity_entries,
        {"captions": CAPTIONS, "ids": Option("", "a file with the ids of the pictures wanted; default: all")},
    ),
]
