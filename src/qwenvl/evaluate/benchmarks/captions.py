"""Captions: NoCaps, Flickr30K (Karpathy's test split) and COCO (paper, Table 4); CIDEr and its companions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.public.json_stream import list_rows
from qwenvl.data.sources.public.question import id_of, tails
from qwenvl.data.sources.report import DataError, RowError
from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.questions import bare
from qwenvl.serve.engine import Generation

FORM = "Describe the image in English:"
DECODING = Generation(max_new_tokens=30, min_new_tokens=8)


def items(data: Data) -> Iterator[Item]:
    """An item a picture, with all its captions."""
    entries = data.entries() if data.format != COCO_FORM else coco_form(data)
    for entry in entries:
        texts = tuple(caption.text for caption in entry.captions)
        yield Item(entry.id, FORM, bare(entry), texts, texts[0] if texts else "")


COCO_FORM = "coco-form"
"""COCO's own form, in which NoCaps and others' conversions of Karpathy's splits go round too."""


def coco_form(data: Data) -> Iterator[Entry]:
    """The pictures of `{"images": [{"id", "file_name" or "image"}], "annotations": [{"image_id", "caption"}]}`, in the
    order of `images`. Raises DataError for a row that can not be read.
    """
    from qwenvl.sample import Caption

    captions: dict[str, list[Caption]] = {}
    for _, row in _rows(data, "annotations"):
        if isinstance(row.get("caption"), str):
            captions.setdefault(id_of(row, "image_id"), []).append(Caption(row["caption"].strip()))
    for at, row in _rows(data, "images"):
        id = id_of(row, "id")
        name = row.get("file_name", row.get("image"))
        if not isinstance(name, str):
            raise DataError(f"{at}: file_name: missing: the picture has no name")
        names = tails(name)
        yield Entry(id, names[0], at, others=names[1:], captions=tuple(captions.get(id, ())))


def _rows(data: Data, member: str) -> Iterator[tuple[At, dict[str, Any]]]:
    for spot, row in list_rows(data.path, member):
        at = At(str(data.path), spot)
        if isinstance(row, RowError):
            raise DataError(f"{at}: {row}")
        try:
            yield at, row
        except RowError as error:
            raise DataError(f"{at}: {error}") from None


def cider(answers: Sequence[Answer]) -> Sequence[float]:
    """CIDEr-D of each caption among all of them."""
    predictions, references = _texts(answers)
    return metrics.cider_d(predictions, references)


def _texts(answers: Sequence[Answer]) -> tuple[list[str], list[list[str]]]:
    return [answer.text for answer in answers], [list(answer.item.answers) for answer in answers]


_NOCAPS = Benchmark(
    name="nocaps",
    title="NoCaps",
    split="val",
    table="Table 4",
    file="nocaps/nocaps_val_4500_captions.json",
    train="coco/annotations/captions_train2014.json",
    pictures=("nocaps/images", "nocaps"),
    where="the captions and pictures of the validation split from nocaps.org",
    format=COCO_FORM,
    form=FORM,
    items=items,
    published=4_500,
    decoding=DECODING,
    note="length penalty 0 (without effect on one beam)",
    whole={"cider": cider},
)

BENCHMARKS = [
    _NOCAPS,
    replace(
        _NOCAPS,
        name="flickr30k",
        title="Flickr30K (Karpathy)",
        split="test",
        file="flickr30k/flickr30k_karpathy_test.json",
        train="flickr30k/flickr30k_karpathy_train.json",
        pictures=("flickr30k/flickr30k-images", "flickr30k/images", "flickr30k"),
        where="captions in COCO's form (Karpathy's split: cs.stanford.edu/people/karpathy/deepimagesent), pictures "
        "from bryanplummer.com/Flickr30kEntities",
        published=1_000,
    ),
    replace(
        _NOCAPS,
        name="coco",
        title="COCO",
        split="val2017",
        table="not in the paper",
        file="coco/annotations/captions_val2017.json",
        train="coco/annotations/captions_train2017.json",
        pictures=("coco/val2017", "coco"),
        where="annotations and pictures of 2017 from cocodataset.org",
        published=5_000,
    ),
]
