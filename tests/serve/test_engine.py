"""Generation: a batch answers as each example alone, streams join to the same text, and stopping stops."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage

from qwenvl.sample import Image, Sample, Text
from qwenvl.serve import Generation, Loaded, generate, load, stream
from qwenvl.serve.engine import inputs, stop_ids
from qwenvl.text.render import Example, render


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)


def solid(colour: str) -> Image:
    return Image(PILImage.new("RGB", (24, 16), colour), 24, 16, colour)


def prompt(loaded: Loaded, *parts: Text | Image, task: str = "vqa") -> Example:
    return render(Sample(parts, task), loaded.tokenizer, loaded.model.config.num_queries)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def examples(loaded: Loaded) -> list[Example]:
    red, blue = solid("red"), solid("blue")
    return [
        prompt(loaded, red, Text("What color is the digit?")),
        prompt(loaded, Text("a text without a picture, longer than the others of this batch")),
        prompt(loaded, blue, Text("有几个物体？")),
        prompt(loaded, red, Text("Where is the red star? "), blue, Text("yes")),
        prompt(loaded, red, Text("What color is the digit?"), task="dialogue"),
    ]


def test_a_batch_answers_as_one_by_one(loaded: Loaded, examples: list[Example]) -> None:
    options = Generation(max_new_tokens=12)
    together = generate(loaded.model, loaded.tokenizer, examples, options, batch_size=8)
    alone = [generate(loaded.model, loaded.tokenizer, [example], options)[0] for example in examples]
    assert together == alone
    assert len({tuple(answer) for answer in together}) > 1, "the tiny model says the same to everything: a weak test"
    assert generate(loaded.model, loaded.tokenizer, examples, options, batch_size=2) == alone


def test_progress_counts_every_example(loaded: Loaded, examples: list[Example]) -> None:
    done: list[int] = []
    generate(loaded.model, loaded.tokenizer, examples, Generation(max_new_tokens=1), 2, done.append)
    assert sum(done) == len(examples)
    assert generate(loaded.model, loaded.tokenizer, [], Generation()) == []


def test_an_answer_is_as_long_as_it_must_be(loaded: Loaded, examples: list[Example]) -> None:
    free = generate(loaded.model, loaded.tokenizer, examples[:1], Generation(max_new_tokens=12))[0]
    stop = (free[2],)
    short = Generation(max_new_tokens=12, stop=stop)
    assert len(generate(loaded.model, loaded.tokenizer, examples[:1], short)[0]) <= 2
    longer = dataclasses.replace(short, min_new_tokens=8)
    assert len(generate(loaded.model, loaded.tokenizer, examples[:1], longer)[0]) >= 8


def test_an_answer_ends_before_its_stop(loaded: Loaded, examples: list[Example]) -> None:
    free = generate(loaded.model, loaded.tokenizer, examples[:1], Generation(max_new_tokens=12, stop=()))[0]
    assert len(free) == 12
    stop = free[5]
    cut = generate(loaded.model, loaded.tokenizer, examples[:1], Generation(max_new_tokens=12, stop=(stop,)))[0]
    assert cut == free[: free.index(stop)]


def test_stop_ids_by_task(loaded: Loaded) -> None:
    tokenizer = loaded.tokenizer
    assert stop_ids(tokenizer, "vqa") == (tokenizer.eos_id,)
    assert stop_ids(tokenizer, "dialogue") == (tokenizer.eos_id, tokenizer.im_end_id)


def test_equal_pictures_are_encoded_once_and_padding_is_left(loaded: Loaded, examples: list[Example]) -> None:
    batch = inputs(loaded.model, loaded.tokenizer, examples)
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["image_index"].tolist() == [0, 1, 0, 1, 0]
    for row, example in enumerate(examples):
        assert batch["input_ids"][row, -len(example.ids) :].tolist() == example.ids
        assert batch["attention_mask"][row].sum() == len(example.ids)
        assert batch["attention_mask"][row, -len(example.ids) :].all()
    assert "pixel_values" not in inputs(loaded.model, loaded.tokenizer, examples[1:2])


def test_a_stream_joins_to_the_whole_answer(loaded: Loaded, examples: list[Example]) -> None:
    options = Generation(max_new_tokens=16)
    for example in examples:
        whole = loaded.tokenizer.decode(generate(loaded.model, loaded.tokenizer, [example], options)[0])
        assert "".join(stream(loaded.model, loaded.tokenizer, example, options)) == whole


def test_a_stream_stops_when_asked(loaded: Loaded, examples: list[Example]) -> None:
    stop = threading.Event()
    options = Generation(max_new_tokens=400, stop=())
    pieces = []
    for piece in stream(loaded.model, loaded.tokenizer, examples[0], options, stop):
        pieces.append(piece)
        if len(pieces) == 3:
            stop.set()
    assert 3 <= len(pieces) < 200
    assert not any(thread.name == "qwenvl-generate" for thread in threading.enumerate())


def test_closing_a_stream_ends_its_thread(loaded: Loaded, examples: list[Example]) -> None:
    pieces = stream(loaded.model, loaded.tokenizer, examples[0], Generation(max_new_tokens=400, stop=()))
    next(pieces)
    pieces.close()
    assert not any(thread.name == "qwenvl-generate" for thread in threading.enumerate())


def test_an_error_of_the_model_reaches_the_caller(loaded: Loaded) -> None:
    broken = prompt(loaded, solid("red"), Text("x"))
    broken = Example(broken.ids[2:], broken.labels[2:], broken.slots, "vqa", "", "")  # one slot and <img> missing
    with pytest.raises(ValueError, match="picture"):
        list(stream(loaded.model, loaded.tokenizer, broken, Generation(max_new_tokens=2)))


def test_sampling_is_possible(loaded: Loaded, examples: list[Example]) -> None:
    options = Generation(max_new_tokens=8, temperature=1.5, top_p=0.95, stop=())
    assert len(generate(loaded.model, loaded.tokenizer, examples[:1], options)[0]) == 8


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_seed_gives_the_same_answers_again(loaded: Loaded, examples: list[Example], top_p: float) -> None:
    options = Generation(max_new_tokens=10, temperature=2.0, top_p=top_p, stop=(), seed=7)
    together = generate(loaded.model, loaded.tokenizer, examples, options)
    alone = [generate(loaded.model, loaded.tokenizer, [example], options)[0] for example in examples]
    assert together == alone
    other = dataclasses.replace(options, seed=8)
    assert generate(loaded.model, loaded.tokenizer, examples, other) != together
    assert generate(loaded.model, loaded.tokenizer, examples, Generation(max_new_tokens=10, stop=())) != together
    streamed = "".join(stream(loaded.model, loaded.tokenizer, examples[0], options))
    assert streamed == loaded.tokenizer.decode(together[0])


def test_seeded_sampling_follows_the_distribution() -> None:
    options = Generation(temperature=2.0, top_p=0.9, seed=0)
    steps = options.arguments((), 0)["logits_processor"]
    scores = torch.tensor([[0.0, 2.0, 3.0, -9.0]])
    drawn = torch.stack([steps(torch.zeros(1, 1, dtype=torch.long), scores).argmax(-1) for _ in range(4000)])
    share = torch.bincount(drawn.flatten(), minlength=4) / 4000
    # The last one lies outside the likeliest nine tenths.
    wanted = torch.softmax(scores[0] / 2, -1)
    kept = wanted * torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert torch.allclose(share, kept / kept.sum(), atol=0.03)


def test_special_tokens_have_pieces_of_their_own(loaded: Loaded) -> None:
    # What the terminal relies on to hide tags while an answer is streaming.
    ids = [loaded.tokenizer.special("<ref>"), *loaded.tokenizer.encode("red star"), loaded.tokenizer.special("</ref>")]
    assert loaded.tokenizer.decode(ids[:1]) == "<ref>"
    assert "".join(loaded.tokenizer.decode([number]) for number in ids) == "<ref>red star</ref>"
