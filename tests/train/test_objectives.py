"""The regions objective: what it reads out of the tokens is what the record says, and a place answers for its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from qwenvl.data.loader import Batch, Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.sample import Record, Task
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model
from qwenvl.train.objectives import items_of, logged, objective_of
from qwenvl.train.optim import trainable
from qwenvl.train.regions import Regions, _targets, read_regions
from qwenvl.train.stages import freeze

from .helpers import tiny

CPU = torch.device("cpu")


def batch_of(records: list[Record], tokenizer: QwenTokenizer, tasks: dict[Task, Share], rows: int = 2) -> Batch:
    settings = Settings(tasks, 32, 4, 512, rows, 0)
    return next(iter(Batches([Part(MemoryShards(records))], tokenizer, settings)))


def test_regions_are_the_records(records: list[Record], tokenizer: QwenTokenizer) -> None:
    batch = batch_of(records, tokenizer, {"grounding": Share(1.0, 2)})
    regions = read_regions(batch, tokenizer)
    size = records[0].images[0].width
    known = {
        (caption.text[start:end], *(round(side / size, 2) for side in (box.x0, box.y0, box.x1, box.y1)))
        for record in records
        for caption in record.captions
        for start, end, boxes in caption.spans
        for box in boxes
    }
    assert len(regions.words) > len(batch.pixels)
    assert set(regions.picture) <= set(range(len(batch.pixels)))
    for words, corners in zip(regions.words, regions.boxes, strict=True):
        close = [k for k in known if k[0] == tokenizer.decode(words) and np.abs(np.array(k[1:]) - corners).max() < 0.02]
        assert close, (tokenizer.decode(words), corners)


def test_quads_of_lines_become_the_boxes_around_them(records: list[Record], tokenizer: QwenTokenizer) -> None:
    regions = read_regions(batch_of(records, tokenizer, {"ocr": Share(1.0, 1)}), tokenizer)
    lines = {line.text: line.quad.box for record in records for line in record.lines}
    size = records[0].images[0].width
    assert regions.words
    texts = [tokenizer.decode(words) for words in regions.words]
    assert set(texts) <= set(lines)
    unique = [text for text in texts if sum(line.text == text for r in records for line in r.lines) == 1]
    for text in unique:
        box = lines[text]
        found = regions.boxes[texts.index(text)]
        assert found == pytest.approx(np.array([box.x0, box.y0, box.x1, box.y1]) / size, abs=0.01)


def test_a_place_belongs_to_the_smallest_box_around_it() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.8, 0.8, 0.85, 0.85]], np.float32)
    regions = Regions(np.zeros(4, np.int64), boxes, [[7], [8, 9], [5], [6]])
    targets = _targets(regions, 1, 4, CPU)

    def says(place: int) -> set[int]:
        return set(targets.used[targets.words[0, place] > 0].tolist())

    assert says(0) == says(5) == {5, 8, 9}  # one box, two names
    assert says(2) == {7}
    assert says(15) == {6}  # too small to be around any middle: the nearest
    assert targets.boxes[0, 2].tolist() == [0, 0, 1, 1]
    assert targets.held.all()
    empty = _targets(Regions(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), []), 1, 4, CPU)
    assert not empty.held.any() and empty.words.shape == (1, 16, 0)


def test_training_on_regions_learns_places(records: list[Record], tokenizer: QwenTokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(tiny().model_spec, tokenizer)
    stage = replace(tiny().stages[0], objective="regions", trains=("vision", "adapter"))
    freeze(model, stage.trains)
    batch = batch_of(records, tokenizer, {"grounding": Share(1.0, 2)})
    objective = objective_of(stage, tokenizer)
    optimizer = torch.optim.Adam([parameter for _, parameter in trainable(model)], lr=1e-2)
    first: dict[str, float] = {}
    for _ in range(150):
        loss = objective(model, batch, items_of(stage, [batch]))
        loss.value.backward()
        optimizer.step()
        optimizer.zero_grad()
        means = {name: total / count for name, (total, count) in loss.tasks.items()}
        first = first or means
    assert set(means) == set(logged(stage)) == {"words", "boxes"}
    assert means["words"] < 0.7 * first["words"] and means["boxes"] < 0.5 * first["boxes"]
