"""COCO's captions and instances, NoCaps (of the same form), and Karpathy's splits of COCO and Flickr30k."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from qwenvl.data.sources.fields import language_of, list_of, shown, text_of
from qwenvl.data.sources.public.entry import At, Entry, size_of, xywh
from qwenvl.data.sources.public.json_stream import has_list, list_rows
from qwenvl.data.sources.public.question import id_of, placed
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import CAPTIONS, Format, Options
from qwenvl.data.sources.report import RowError, Spot
from qwenvl.sample import Box, Caption, Phrase


def caption_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture with all its captions; of COCO's file or of Karpathy's.

    COCO's file lists all pictures before the captions, in no common order, so the captions are kept (COCO 2014: 90 MB).
    Raises DataError where the file is neither.
    """
    if not has_list(path, "annotations"):
        yield from karpathy_entries(path, options, reading)
        return
    captions: dict[str, list[str]] = {}
    for at, row in placed(path, list_rows(path, "annotations"), reading):
        with reading.row(at):
            captions.setdefault(id_of(row, "image_id"), []).append(text_of(row, "caption").strip())
    for at, row in placed(path, list_rows(path, "images"), reading):
        with reading.row(at):
            found = tuple(_caption(text) for text in captions.pop(id_of(row, "id"), []))
            if found:
                yield _entry(path, at, row, captions=found)
    _left_over(captions, path, reading)


def karpathy_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture of dataset_coco.json or dataset_flickr30k.json, with its split."""
    for at, row in placed(path, list_rows(path, "images"), reading):
        with reading.row(at):
            name = text_of(row, "filename")
            folder = row.get("filepath")
            captions = []
            for index, item in enumerate(list_of(row, "sentences")):
                if not isinstance(item, dict):
                    raise RowError(f"sentences[{index}]", f"expected an object with raw, not {shown(item)}")
                captions.append(_caption(text_of(item, "raw", f"sentences[{index}].").strip()))
            yield Entry(
                id=f"{path.stem}-{id_of(row, 'cocoid', 'imgid')}",
                image=f"{folder}/{name}" if isinstance(folder, str) and folder else name,
                others=(name,) if isinstance(folder, str) and folder else (),
                at=at,
                split=text_of(row, "split") if "split" in row else "",
                captions=tuple(captions),
            )


def instance_entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a picture with its objects: a category and all its boxes as one phrase; crowds are left out.

    Raises DataError where the file is none of COCO's instances.
    """
    names = {}
    for at, row in placed(path, list_rows(path, "categories"), reading):
        with reading.row(at):
            names[id_of(row, "id")] = text_of(row, "name")
    objects: dict[str, dict[str, list[Box]]] = {}
    for at, row in placed(path, list_rows(path, "annotations"), reading):
        with reading.row(at):
            if row.get("iscrowd"):
                continue
            category = id_of(row, "category_id")
            if category not in names:
                raise RowError("category_id", f"{category} is none of the file's categories")
            if "bbox" not in row:
                raise RowError("bbox", "missing")
            boxes = objects.setdefault(id_of(row, "image_id"), {})
            boxes.setdefault(names[category], []).append(xywh(row["bbox"], "bbox"))
    for at, row in placed(path, list_rows(path, "images"), reading):
        with reading.row(at):
            found = objects.pop(id_of(row, "id"), {})
            phrases = tuple(Phrase(name, tuple(boxes), referring=False) for name, boxes in found.items())
            if phrases:
                yield _entry(path, at, row, phrases=phrases)
    _left_over(objects, path, reading)


def _entry(path: Path, at: At, row: Row, captions: tuple[Caption, ...] = (), phrases: tuple[Phrase, ...] = ()) -> Entry:
    name = text_of(row, "file_name")
    domain = row.get("domain")
    return Entry(
        id=f"{path.stem}-{id_of(row, 'id')}",
        image=name,
        others=tuple(f"{folder}/{name}" for folder in ("train2014", "val2014", "train2017", "val2017")),
        at=at,
        size=size_of(row),
        captions=captions,
        phrases=phrases,
        meta={"domain": domain} if isinstance(domain, str) else {},
    )


def _caption(text: str) -> Caption:
    return Caption(text, language_of({}, text))


def _left_over(pictures: Iterable[str], path: Path, reading: Reading) -> None:
    """Annotations whose picture the file does not list are reported, each picture once."""
    for image in pictures:
        reading.bad(At(str(path), Spot(1)), RowError("image_id", f"{image} is none of the file's images"))


FORMATS = [
    Format(
        "coco-captions",
        "COCO's captions, or Karpathy's dataset_coco.json (cocodataset.org; pictures: train2014, val2014 …)",
        caption_entries,
        {"captions": CAPTIONS},
    ),
    Format("coco-instances", "COCO's instances: a phrase a category (cocodataset.org)", instance_entries),
    Format(
        "nocaps", "NoCaps in COCO's form (nocaps.org; pictures: Open Images)", caption_entries, {"captions": CAPTIONS}
    ),
]
