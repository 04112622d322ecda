"""The packed mask: a sample in a pack gets the losses that it gets alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qwenvl.data.loader import Batch, Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.data.pack import Group, join
from qwenvl.sample import Record
from qwenvl.tasks import TASKS
from qwenvl.text.render import Example, render
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.batch import packed_mask, to_tensors
from qwenvl.train.build import build_model
from qwenvl.train.objectives import forward
from tests.train.helpers import tiny

CPU = torch.device("cpu")


def batches(records: list[Record], tokenizer: QwenTokenizer, **changes: object) -> Batches:
    tasks = {"vqa": Share(1.0, 4), "referring": Share(1.0, 3), "grounding": Share(0.5, 1), "text": Share(0.3, 1)}
    values: dict[str, object] = dict(tasks=tasks, image_size=32, slots_per_image=4, sequence=200, rows=4, seed=5)
    return Batches([Part(MemoryShards(records))], tokenizer, Settings(**{**values, **changes}))  # type: ignore[arg-type]


def losses(model: torch.nn.Module, batch: Batch) -> list[float]:
    with torch.no_grad():
        output = forward(model, to_tensors(batch, True, CPU), 1)
    return [round(x, 4) for x in output.token_losses.tolist()]


def alone(example: Example, size: int, eos: int) -> Batch:
    """A batch of one sample without any packing."""
    row = join([Group(example.task, [example], 0, 0, (0,))])
    arrays = [np.asarray([x], np.int64) for x in (row.ids, row.labels, row.positions)]
    pixels = [np.asarray(s.image.pil().resize((size, size), 3), np.uint8) for s in example.slots]
    stacked = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), np.uint8)
    ones = np.ones((1, len(row.ids)), np.int16)
    return Batch(*arrays, ones, ones, stacked, np.arange(len(pixels)), [row.task], 1, 1, 1, {})


def test_packed_losses_are_those_of_the_samples_alone(records: list[Record], tokenizer: QwenTokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(tiny().model_spec, tokenizer).eval()
    stream = iter(batches(records, tokenizer, rows=2, sequence=256))
    for _ in range(3):
        batch = next(stream)
        packed = losses(model, batch)
        singles = []
        for row in range(len(batch.ids)):
            segments, branches = batch.segments[row], batch.branches[row]
            for segment in range(1, segments.max() + 1):
                inside = segments == segment
                shared = inside & (branches == 0)
                for branch in range(1, branches[inside].max() + 1):
                    own = shared | (inside & (branches == branch))
                    labels = np.where(shared & (branch > 1), -100, batch.labels[row])[own]
                    run = slice(0, 0)
                    if shared.any():
                        number = int((batch.ids[: row + 1] == tokenizer.img_start_id).sum())
                        after = (batch.ids[row] == tokenizer.img_start_id) & (segments > segment)
                        index = batch.image_index[number - int(after.sum()) - 1]
                        run = slice(index, index + 1)
                    single = Batch(
                        batch.ids[row][own][None], labels[None], batch.positions[row][own][None],
                        np.ones((1, own.sum()), np.int16), np.ones((1, own.sum()), np.int16), batch.pixels[run],
                        np.arange(run.stop - run.start), [batch.tasks[row]], 1, 1, 1, {},
                    )  # fmt: skip
                    singles += losses(model, single)
        assert len(packed) == len(singles)
        np.testing.assert_allclose(packed, singles, atol=2e-3)


def test_join_of_one_sample_is_the_sample(records: list[Record], tokenizer: QwenTokenizer) -> None:
    import random

    for sample in TASKS["vqa"](records[0], random.Random(0))[:3]:
        example = render(sample, tokenizer, 4)
        batch = alone(example, 32, tokenizer.eos_id)
        assert batch.ids[0].tolist() == example.ids and batch.labels[0].tolist() == example.labels


def test_mask_without_isolation_is_causal() -> None:
    segments = torch.tensor([[1, 1, 2, 2, 0]])
    mask = packed_mask(segments, torch.zeros_like(segments), isolate=False)[0, 0]
    assert mask[:4, :4].equal(torch.ones(4, 4, dtype=torch.bool).tril())
    assert mask[4].tolist() == [False, False, False, False, True]
    assert not mask[:4, 4].any()


@pytest.mark.parametrize("stop", [1, 3, 7])
def test_the_stream_continues_from_any_state(records: list[Record], tokenizer: QwenTokenizer, stop: int) -> None:
    whole = [batch for _, batch in zip(range(12), batches(records, tokenizer), strict=False)]
    again = batches(records, tokenizer)._settings
    state = whole[stop - 1].state
    rest = Batches([Part(MemoryShards(records))], tokenizer, again, state)
    for expected, batch in zip(whole[stop:], rest, strict=False):
        assert expected.state == batch.state
        for name in ("ids", "labels", "positions", "segments", "branches", "pixels", "image_index"):
            np.testing.assert_array_equal(getattr(expected, name), getattr(batch, name))


def test_ranks_share_the_rows_of_one_stream(records: list[Record], tokenizer: QwenTokenizer) -> None:
    (one,) = (batch for _, batch in zip(range(1), batches(records, tokenizer), strict=False))
    parts = [next(iter(batches(records, tokenizer, rank=rank, world=2))) for rank in range(2)]
    assert parts[0].supervised == parts[1].supervised == one.supervised == int((one.labels != -100).sum())
    merged = np.zeros_like(one.ids)
    merged[0::2], merged[1::2] = parts[0].ids, parts[1].ids
    np.testing.assert_array_equal(merged, one.ids)


def test_padding_stays_small(records: list[Record], tokenizer: QwenTokenizer) -> None:
    stream = [batch for _, batch in zip(range(20), batches(records, tokenizer, sequence=256), strict=False)]
    used = np.mean([(batch.segments > 0).mean() for batch in stream])
    assert 1 - used < 0.03
    images = sum(len(batch.pixels) for batch in stream)
    assert images and all(batch.image_index.max() < len(batch.pixels) for batch in stream if len(batch.pixels))
