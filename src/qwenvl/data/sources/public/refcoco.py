"""RefCOCO, RefCOCO+ and RefCOCOg in the forms in which they go round; refer's own pickles are not read.

* a row an expression or a box: `img_id`/`sents`/`bbox` [x, y, w, h] (MiniGPT-4's JSON); `image`/`sent`/`bbox` by
  corners (the reference repository's JSONL); `img_path`/`expression`/`bbox` by corners (Shikra's JSONL);
* lists by split, {"train": [...], "val": [...]}, of `image_id`/`expressions`/`bbox` [x, y, w, h];
* refer's references as JSON, `ref_id`/`sentences`/`ann_id`, with COCO's instances for the boxes (`instances=`);
* Parquet as on Hugging Face: `file_name`/`answer`/`bbox` [x, y, w, h], or `captions`/`bbox` by corners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwenvl.data.sources.fields import language_of, shown, text_of
from qwenvl.data.sources.public.entry import At, Entry, xywh, xyxy
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Box, Phrase

_EXPRESSIONS = ("sents", "sent", "expression", "expressions", "sentences", "captions", "answer", "phrase", "caption")
_NAMES = ("img_id", "image", "img_path", "image_path", "file_name", "image_id")
_BY_CORNERS = ("sent", "expression", "captions")
_COCO = re.compile(r"(?:COCO_\w+?_)?(\d{12})(?:_\d+)?(?:\.jpg)?")
_SPLIT = re.compile(r"(train|val|testA|testB|testC|test)\Z")


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a row, with all expressions of its box."""
    for at, row in reading.rows(path):
        with reading.row(at):
            yield _entry(row, at, options)


def _entry(row: Row, at: At, options: Options) -> Entry:
    field = next((name for name in _EXPRESSIONS if row.get(name)), None)
    if field is None:
        raise RowError("sents", f"missing: no referring expression (looked for {', '.join(_EXPRESSIONS)})")
    box = _box(row, field, options["boxes"])
    names = _names(row)
    size = (row.get("width"), row.get("height"))
    texts = _texts(row[field], field)
    return Entry(
        id=f"{Path(at.file).stem}-{row.get('ref_id', row.get('question_id', at.spot.row or at.spot.line))}",
        image=names[0],
        others=names[1:],
        at=at,
        split=str(row.get("split") or _split_of(at.file)),
        size=(size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) and min(size) > 0 else None,
        phrases=tuple(Phrase(text, (box,), language_of({}, text)) for text in texts),
    )


def _box(row: Row, field: str, form: str) -> Box:
    if row.get("bbox") is None:
        raise RowError("bbox", "missing")
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
}
_FROM = "{} expressions as JSON or Parquet (github.com/lichengunc/refer and copies), pictures: COCO train2014"

FORMATS = [
    Format(name, _FROM.format(title), entries, _OPTIONS)
    for name, title in (("refcoco", "RefCOCO"), ("refcoco+", "RefCOCO+"), ("refcocog", "RefCOCOg"))
]
