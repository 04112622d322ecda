"""The batches of the nano recipe's stages, token for token: what makes the data path faster must change none."""

from __future__ import annotations

import hashlib
import io
import json
import random

import pytest
from PIL import Image as PILImage

from qwenvl.data.loader import Batch, Batches, Settings
from qwenvl.data.mixture import Part, Share
from qwenvl.data.shard_writer import write_shards
from qwenvl.data.shards import ShardReader
from qwenvl.sample import QA, Box, Caption, Image, Phrase, Quad, Record, Region, Task, Text, TextLine, Turn
from qwenvl.text.tokenizer import QwenTokenizer

pytest.importorskip("pyarrow")

STAGES: dict[str, tuple[dict[Task, Share], int, int]] = {
    "text": (
        {
            "text": Share(0.3, 1, False),
            "caption": Share(0.3, 1, False),
            "vqa": Share(0.3, 4, False),
            "grounding": Share(0.3, 1, False),
            "referring": Share(0.3, 3, False),
            "grounded_caption": Share(0.2, 2, False),
            "ocr": Share(0.3, 1, False),
            "dialogue": Share(0.1, 1, False),
        },
        256,
        9,
    ),
    "regions": ({"grounding": Share(1.0, 2)}, 512, 9),
    "stage1": ({"caption": Share(1.0, 1), "vqa": Share(0.03, 4, False), "ocr": Share(0.03, 1, False)}, 256, 9),
    "stage2": (
        {
            "caption": Share(0.5, 1),
            "vqa": Share(0.5, 4),
            "grounding": Share(0.7, 1),
            "referring": Share(0.5, 3),
            "grounded_caption": Share(0.2, 2),
            "ocr": Share(0.5, 1),
            "text": Share(0.03, 1),
        },
        256,
        9,
    ),
    "stage3": (
        {
            "dialogue": Share(0.8, 1),
            "caption": Share(0.1, 1),
            "vqa": Share(0.2, 4),
            "referring": Share(0.2, 3),
            "ocr": Share(0.2, 1),
        },
        384,
        6,
    ),
}
"""The stages' tasks, tokens a row and rows."""

DIGESTS = {
    "text 1": "9fa679124bacdff2",
    "text 2": "7f0721bb03dd3c5e",
    "regions 1": "22faed9f4deb1b3e",
    "regions 2": "889bc06a52e8e581",
    "stage1 1": "6a9b162d6f6d64de",
    "stage1 2": "4942c7a0166026a4",
    "stage2 1": "f4990d47a8e2df9b",
    "stage2 2": "45cef4f52fdce2f5",
    "stage3 1": "c2f48c57862575db",
    "stage3 2": "50686049c18d7843",
}
"""Of each stage with one process and with two, made by the version whose batches were, with the records in an earlier
order, those of the version that parsed every record whole and made every sample of a task.
"""

_WORDS = ("red", "star", "blue", "circle", "left of", "红色", "星星", "a", "large", "sign")


def _box(rng: random.Random) -> Box:
    x, y = rng.uniform(0, 80), rng.uniform(0, 60)
    return Box(x, y, x + rng.uniform(1, 15), y + rng.uniform(1, 15))


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _picture(rng: random.Random) -> Image:
    # of one colour, so that every version of a decoder gives the same pixels
    file = io.BytesIO()
    PILImage.new("RGB", (96, 80), tuple(rng.randrange(256) for _ in range(3))).save(file, "PNG")
    return Image(file.getvalue(), 96, 80, f"{rng.randrange(10**6)}.png")


def _record(number: int) -> Record:
    rng = random.Random(number)
    picture, other = _picture(rng), _picture(rng)
    captions = []
    for _ in range(rng.randrange(4)):
        text = _words(rng, rng.randint(4, 12))
        spans = ((0, 3, (_box(rng),)), (4, 8, (_box(rng), _box(rng)))) if rng.random() < 0.8 else ()
        captions.append(Caption(text, rng.choice(("en", "zh")), spans))
    qas = [QA(_words(rng, 5), _words(rng, 1), "en", rng.random() < 0.2) for _ in range(rng.randrange(9))]
    phrases = [
        Phrase(_words(rng, 2), tuple(_box(rng) for _ in range(rng.randrange(3))), "en", rng.random() < 0.7, "a star")
        for _ in range(rng.randrange(8))
    ]
    corners = [(rng.uniform(0, 90), rng.uniform(0, 70)) for _ in range(4)]
    lines = [TextLine(_words(rng, 2), Quad(tuple(corners)))] * rng.randrange(3)  # type: ignore[arg-type]
    region = Region(_words(rng, 2), (_box(rng),), (), 1)
    turns = (
        Turn("user", (picture, other, Text("What differs?"))),
        Turn("assistant", (Text("Look at "), region, Text(", it is " + _words(rng, 2)))),
    )
    return Record(
        f"r{number}", "synthetic", (picture,), tuple(captions), tuple(qas), tuple(phrases), tuple(lines),
        tuple(_words(rng, 20) for _ in range(rng.randrange(2))), (turns,) * rng.randrange(3), {"number": number},
    )  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    """Sixty records of all kinds in four shards, read three times over by some stages."""
    folder = tmp_path_factory.mktemp("corpus")
    write_shards(map(_record, range(60)), folder, rows_per_shard=16)
    return ShardReader(folder)


@pytest.fixture(scope="module")
def tokenizer() -> QwenTokenizer:
    """Bytes and special tokens."""
    return QwenTokenizer.train_small([], 256)


def settings(stage: str, world: int) -> Settings:
    tasks, sequence, rows = STAGES[stage]
    return Settings(tasks, 48, 9, sequence, rows, 7, buffer=8, rank=world - 1, world=world)


def digest(batches: list[Batch]) -> str:
    """Of every array, count and state."""
    made = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for name in ("ids", "labels", "positions", "segments", "branches", "pixels", "image_index"):
            array = getattr(batch, name)
            made.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        rest = [batch.tasks, batch.samples, batch.supervised, batch.runs, batch.state]
        made.update(json.dumps(rest, sort_keys=True).encode())
    return made.hexdigest()


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_batches_are_those_of_before(corpus: ShardReader, tokenizer: QwenTokenizer, stage: str, world: int) -> None:
    stream = iter(Batches([Part(corpus)], tokenizer, settings(stage, world)))
    made = [next(stream) for _ in range(8)]
    assert digest(made) == DIGESTS[f"{stage} {world}"]
    state = json.loads(json.dumps(made[3].state))
    rest = iter(Batches([Part(corpus)], tokenizer, settings(stage, world), state))
    assert digest([next(rest) for _ in range(4)]) == digest(made[4:])
