"""RefCOCO, RefCOCO+ and RefCOCOg in the forms in which they go round; refer's own pickles are not read.

* a row an expression or a box: `img_id`/`sents`/`bbox` [x, y, w, h] (MiniGPT-4's JSON); `image`/`sent`/`bbox` by
  corners (the reference repository's JSONL); `img_path`/`expression`/`bbox` by corners (Shikra's JSONL);
* lists by split, {"train": [...], "val": [...]}, of `image_id`/`expressions`/`bbox` [x, y, w, h];
* refer's references as JSON, `ref_id`/`sentences`/`ann_id`, with COCO's instances for the boxes (`instances=`);
* COCO's form, an image with its `caption` and an annotation with its box for each expression (MDETR's);
* Parquet as on Hugging Face: `file_name`/`answer`/`bbox` [x, y, w, h], or `captions`/`bbox` by corners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import language_of, shown, text_of
from qwenvl.data.sources.public.entry import At, Entry, size_of, xywh, xyxy
from qwenvl.data.sources.public.json_stream import has_list, list_rows
from qwenvl.data.sources.public.question import id_of, placed
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import DataError, RowError
from qwenvl.data.sources.rows import beginning
from qwenvl.sample import Box, Phrase

_EXPRESSIONS = ("sents", "sent", "expression", "expressions", "sentences", "captions", "answer", "phrase", "caption")
_NAMES = ("img_id", "image", "img_path", "image_path", "file_name", "image_id")
_BY_CORNERS = ("sent", "expression", "captions")
_COCO = re.compile(r"(?:COCO_\w+?_)?(\d{12})(?:_\d+)?(?:\.jpg)?")
_SPLITS = ("train", "val", "testA", "testB", "testC", "test")
# "refcoco_testA.json", and "testA-00000-of-00001.parquet" of a Hugging Face dataset
_SPLIT = re.compile(r"(train|val|testA|testB|testC|test)(?:-\d{5}-of-\d{5})?\Z")


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a row, with all expressions of its box. Raises DataError for instances that can not be read."""
    boxes = _instances(Path(options["instances"]), reading) if options["instances"] else {}
    for at, row in _rows(path, reading):
        with reading.row(at):
            yield _entry(row | boxes.get(id_of(row, "ann_id"), {}) if boxes else row, at, options)


def _rows(path: Path, reading: Reading) -> Iterator[tuple[At, Row]]:
    """The rows of every form, each with its own box and, where lists are by split, its split."""
    if path.suffix != ".json" or beginning(path)[:1] != b"{":
        yield from reading.rows(path)
    elif has_list(path, "annotations"):
        yield from _joined(path, reading)
    elif splits := [split for split in _SPLITS if has_list(path, split)]:
        for split in splits:
            for at, row in placed(path, list_rows(path, split), reading):
                yield at, row | {"split": split}
    else:
        yield from reading.rows(path)


def _joined(path: Path, reading: Reading) -> Iterator[tuple[At, Row]]:
    """COCO's form: the images are the expressions, each with one annotation."""
    images = {}
    for at, row in placed(path, list_rows(path, "images"), reading):
        with reading.row(at):
            images[id_of(row, "id")] = {name: row.get(name) for name in ("file_name", "caption", "width", "height")}
    for at, row in placed(path, list_rows(path, "annotations"), reading):
        with reading.row(at):
            image = id_of(row, "image_id")
            if image not in images:
                raise RowError("image_id", f"{image} is none of the file's images")
            yield at, images[image] | {"bbox": row.get("bbox")}


def _instances(path: Path, reading: Reading) -> dict[str, Row]:
    """Box and picture's size by the number of the annotation, of COCO's instances_train2014.json."""
    if not path.is_file():
        raise DataError(f"instances={path}: no such file")
    sizes: dict[str, Row] = {}
    for at, row in placed(path, list_rows(path, "images"), reading):
        with reading.row(at):
            sizes[id_of(row, "id")] = {"width": row.get("width"), "height": row.get("height")}
    found: dict[str, Row] = {}
    for at, row in placed(path, list_rows(path, "annotations"), reading):
        with reading.row(at):
            found[id_of(row, "id")] = {"bbox": row.get("bbox")} | sizes.get(id_of(row, "image_id"), {})
    return found


def _entry(row: Row, at: At, options: Options) -> Entry:
    field = next((name for name in _EXPRESSIONS if row.get(name)), None)
    if field is None:
        raise RowError("sents", f"missing: no referring expression (looked for {', '.join(_EXPRESSIONS)})")
    box = _box(row, field, options["boxes"])
    names = _names(row)
    texts = _texts(row[field], field)
    return Entry(
        id=f"{Path(at.file).stem}-{row.get('ref_id', row.get('question_id', at.spot.row or at.spot.line))}",
        image=names[0],
        others=names[1:],
        at=at,
        split=str(row.get("split") or _split_of(at.file)),
        size=size_of(row),
        phrases=tuple(Phrase(text, (box,), language_of({}, text)) for text in texts),
    )


def _box(row: Row, field: str, form: str) -> Box:
    if row.get("bbox") is None:
        hint = "; refer's references need instances=instances_train2014.json" if "ann_id" in row else ""
        raise RowError("bbox", f"missing{hint}")
    corners = field in _BY_CORNERS if form == "auto" else form == "xyxy"
    return (xyxy if corners else xywh)(row["bbox"], "bbox")


def _texts(value: Any, field: str) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    found = []
    for index, item in enumerate(given):
        if isinstance(item, dict):
            item = item.get("sent", item.get("raw"))
        found.append(text_of({field: item}, field, "" if value is item else f"[{index}].").strip())
    return tuple(dict.fromkeys(found))


def _names(row: Row) -> tuple[Any, ...]:
    """The picture in the file's own name and as COCO of 2014 and 2017 call it."""
    named = next((row[name] for name in _NAMES if row.get(name) is not None), None)
    if isinstance(named, dict) and isinstance(named.get("bytes"), bytes):
        return (named["bytes"],)
    if isinstance(named, int) and not isinstance(named, bool):
        named = f"{named:012d}"
    if not isinstance(named, str):
        raise RowError("image", "missing" if named is None else f"expected a name, not {shown(named)}")
    match = _COCO.fullmatch(Path(named).name)
    if match is None:
        return (named,)
    new, old = f"{match[1]}.jpg", f"COCO_train2014_{match[1]}.jpg"
    return tuple(dict.fromkeys((old, f"train2014/{old}", new, f"train2017/{new}", named)))


def _split_of(file: str) -> str:
    match = _SPLIT.search(Path(file).stem)
    return match[1] if match else ""


_OPTIONS = {
    "boxes": Option("auto", "how bbox is written; auto goes by the names of the fields", ("auto", "xywh", "xyxy")),
    "instances": Option("", "COCO's instances_train2014.json, for refer's references, which hold no boxes"),
}
_FROM = "{} expressions as JSON or Parquet (github.com/lichengunc/refer and copies), pictures: COCO train2014"

FORMATS = [
    Format(name, _FROM.format(title), entries, _OPTIONS)
    for name, title in (("refcoco", "RefCOCO"), ("refcoco+", "RefCOCO+"), ("refcocog", "RefCOCOg"))
]
