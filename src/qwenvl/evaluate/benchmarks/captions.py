"""Captions: NoCaps, Flickr30K (Karpathy's test split) and COCO (paper, Table 4); CIDEr and its companions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.evaluate.benchmarks.questions import bare
from qwenvl.serve.engine import Generation

FORM = "Describe the image in English:"
DECODING = Generation(max_new_tokens=30, min_new_tokens=8)


def items(data: Data) -> Iterator[Item]:
    """An item a picture, with all its captions."""
    for entry in data.entries():
        texts = tuple(caption.text for caption in entry.captions)
        # result files name a picture by its number alone
        id = entry.id.removeprefix(f"{data.path.stem}-")
        yield Item(id, FORM, bare(entry), texts, texts[0] if texts else "", category=str(entry.meta.get("domain", "")))


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
    format="nocaps",
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
        file="flickr30k/dataset_flickr30k.json",
        query="split=test",
        train="flickr30k/dataset_flickr30k.json",
        pictures=("flickr30k/flickr30k-images", "flickr30k/images", "flickr30k"),
        where="dataset_flickr30k.json from cs.stanford.edu/people/karpathy/deepimagesent, pictures from "
        "bryanplummer.com/Flickr30kEntities",
        format="flickr30k",
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
        format="coco-captions",
        published=5_000,
    ),
]
