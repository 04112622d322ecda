"""Samples as tokens: the seven tasks to the letter, masks, alignment, prompts, and what cannot be written."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.sample import Box, Image, Part, Quad, Region, Sample, Special, Task, Text
from qwenvl.text.geometry import box_to_grid, quad_to_grid
from qwenvl.text.inspect import regions_of
from qwenvl.text.markup import cells_text
from qwenvl.text.render import IGNORED, _cell_ids, render, render_prompt, texts_of
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS

# In a picture of 1000 × 1000 pixels a pixel is a cell.
SQUARE = Image(b"", 1000, 1000, "square")
EOS = Special("<|endoftext|>", True)
IMG = "<img></img>"


def blue(*parts: Part) -> tuple[Part, ...]:
    """Parts as an answer has them."""
    return tuple(
        replace(p, phrase_supervised=True, supervised=True) if isinstance(p, Region) else replace(p, supervised=True)  # type: ignore[type-var]
        for p in parts
    )


# task, parts, the black text, the blue text
FORMS: list[tuple[Task, tuple[Part, ...], str, str]] = [
    (
        "caption",
        (SQUARE, Text("Generate the caption in English: "), *blue(Text("the beautiful flowers for design."), EOS)),
        f"{IMG}Generate the caption in English: ",
        "the beautiful flowers for design.<|endoftext|>",
    ),
    (
        "vqa",
        (
            *(SQUARE, Text(" Does the bandage have a different color than the wrist band? Answer: ")),
            *blue(Text("No, both the bandage and the wrist band are white."), EOS),
        ),
        f"{IMG} Does the bandage have a different color than the wrist band? Answer: ",
        "No, both the bandage and the wrist band are white.<|endoftext|>",
    ),
    (
        "vqa",
        (
            *(SQUARE, Text(" What is the title of this book? Answer: ")),
            *blue(Text("Asi Se Dice!, Volume 2: Workbook And Audio Activities"), EOS),
        ),
        f"{IMG} What is the title of this book? Answer: ",
        "Asi Se Dice!, Volume 2: Workbook And Audio Activities<|endoftext|>",
    ),
    (
        "grounding",
        (
            *(SQUARE, Text("Generate the caption in English with grounding: ")),
            *blue(
                Text("Beautiful shot of "),
                Region("bees", (Box(661, 612, 833, 812), Box(120, 555, 265, 770))),
                Text(" gathering nectars from "),
                Region("an apricot flower", (Box(224, 13, 399, 313),)),
                EOS,
            ),
        ),
        f"{IMG}Generate the caption in English with grounding: ",
        "Beautiful shot of <ref>bees</ref><box>(661,612),(833,812)</box><box>(120,555),(265,770)</box>"
        " gathering nectars from <ref>an apricot flower</ref><box>(224,13),(399,313)</box><|endoftext|>",
    ),
    (
        "referring",
        (SQUARE, Region("the ear on a giraffe", (Box(176, 106, 232, 160),), supervised=True), EOS),
        f"{IMG}<ref>the ear on a giraffe</ref>",
        "<box>(176,106),(232,160)</box><|endoftext|>",
    ),
    (
        "grounded_caption",
        (
            *(SQUARE, Region("This", (Box(360, 542, 476, 705),))),
            *blue(Text(" is Yellow cross country ski racing gloves"), EOS),
        ),
        f"{IMG}<ref>This</ref><box>(360,542),(476,705)</box>",
        " is Yellow cross country ski racing gloves<|endoftext|>",
    ),
    (
        "ocr",
        (
            *(SQUARE, Text("OCR with grounding: ")),
            *blue(
                Region("It is managed", (), (Quad(((568, 121), (625, 131), (624, 182), (567, 172))),)),
                Region("by the", (), (Quad(((1, 2), (3, 4), (5, 6), (999.9, 1000))),)),
                EOS,
            ),
        ),
        f"{IMG}OCR with grounding: ",
        "<ref>It is managed</ref><quad>(568,121),(625,131),(624,182),(567,172)</quad>"
        "<ref>by the</ref><quad>(1,2),(3,4),(5,6),(999,999)</quad><|endoftext|>",
    ),
    (
        "text",
        blue(Text("A document, supervised throughout."), EOS),
        "",
        "A document, supervised throughout.<|endoftext|>",
    ),
]


def check_forms(tokenizer: QwenTokenizer, slots: int) -> None:
    for task, parts, black, answer in FORMS:
        sample = Sample(parts, task, "paper", "1")
        example = render(sample, tokenizer, slots)
        assert tokenizer.decode(example.ids) == black + answer
        assert tokenizer.decode([x for x in example.labels if x != IGNORED]) == answer
        prompt = render_prompt(sample, tokenizer, slots)
        assert tokenizer.decode(prompt.ids) == black
        assert example.ids[: len(prompt.ids)] == prompt.ids and set(prompt.labels) <= {IGNORED}
        assert prompt.slots == example.slots
        assert (example.task, example.source, example.id) == (task, "paper", "1")


def test_the_forms_of_the_seven_tasks(small: QwenTokenizer) -> None:
    check_forms(small, 9)


def test_the_forms_with_the_released_vocabulary(qwen: QwenTokenizer) -> None:
    check_forms(qwen, 256)
    parts = FORMS[4][1]
    text = "<img></img><ref>the ear on a giraffe</ref><box>(176,106),(232,160)</box><|endoftext|>"
    ids = render(Sample(parts, "referring"), qwen).ids
    assert [i for i in ids if i != qwen.image_slot_id] == qwen.encode_with_specials(text)


# -- any sample ----------------------------------------------------------------------------------------------------

COORDINATE = st.floats(-20, 700)
BOXES = st.builds(Box, *[COORDINATE] * 4)
QUADS = st.builds(Quad, st.tuples(*[st.tuples(COORDINATE, COORDINATE)] * 4))
WORDS = st.one_of(
    st.text(max_size=20), st.sampled_from([*SPECIAL_TOKENS[:3], "<ref>", "</box>", "<img>", "a red star 12"])
)
IMAGES = st.builds(Image, st.just(b""), st.integers(1, 4000), st.integers(1, 4000), st.just("p"))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    images = draw(st.lists(IMAGES, max_size=3))
    flags = st.booleans()
    choices: list[st.SearchStrategy[Part]] = [
        st.builds(Text, WORDS, flags),
        st.builds(Special, st.sampled_from(["<|endoftext|>", "<|im_start|>"]), flags),
        st.builds(Region, WORDS, phrase_supervised=flags, supervised=flags),
    ]
    if images:
        places = (st.lists(BOXES, max_size=2).map(tuple), st.lists(QUADS, max_size=2).map(tuple))
        choices.append(st.builds(Region, WORDS, *places, st.integers(0, len(images) - 1), flags, flags))
    parts = draw(st.lists(st.one_of(choices), max_size=6))
    for image in images:
        parts.insert(draw(st.integers(0, len(parts))), image)
    return Sample(tuple(parts), "vqa")


@given(samples(), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_any_sample(small: QwenTokenizer, sample: Sample, n: int) -> None:
    example = render(sample, small, n)
    assert len(example.ids) == len(example.labels)
    assert all(label in (IGNORED, number) for number, label in zip(example.ids, example.labels, strict=True))

    # Pictures: whole, between their tags, never supervised, in order.
    assert [slot.image for slot in example.slots] == list(sample.images)
    assert example.ids.count(small.image_slot_id) == n * len(sample.images)
    for slot in example.slots:
        assert slot.length == n
        inside = slice(slot.start - 1, slot.start + n + 1)
        assert example.ids[inside] == [small.img_start_id, *[small.image_slot_id] * n, small.img_end_id]
        assert set(example.labels[inside]) == {IGNORED}

    # Special ids are those that the parts ask for, whatever the words spell.
    boxes = sum(len(p.boxes) for p in sample.parts if isinstance(p, Region))
    quads = sum(len(p.quads) for p in sample.parts if isinstance(p, Region))
    specials = sum(isinstance(p, Special) for p in sample.parts)
    phrases = sum(isinstance(p, Region) and p.phrase is not None for p in sample.parts)
    expected = specials + 2 * (boxes + quads + phrases) + (n + 2) * len(sample.images)
    assert sum(small.is_special(i) for i in example.ids) == expected

    # Each part alone gives its piece of the ids: borders of parts are borders of tokens.
    pieces: list[int] = []
    for part in sample.parts:
        lone = (part,) if not isinstance(part, Region) else (replace(part, image=0), *(sample.images[part.image :]))
        ids = render(Sample(lone, "vqa"), small, n).ids
        pieces += ids if not isinstance(part, Region) else ids[: len(ids) - (n + 2) * (len(lone) - 1)]
    assert example.ids == pieces

    prompt = render_prompt(sample, small, n)
    assert example.ids[: len(prompt.ids)] == prompt.ids
    assert all(label == IGNORED for label in prompt.labels)
    if len(prompt.ids) < len(example.ids):
        assert example.labels[len(prompt.ids)] != IGNORED


@given(st.lists(BOXES, min_size=1, max_size=3), st.lists(QUADS, max_size=2), st.integers(1, 4000), st.integers(1, 4000))
@settings(deadline=None)
def test_places_read_back_from_tokens(
    small: QwenTokenizer, boxes: list[Box], quads: list[Quad], w: int, h: int
) -> None:
    image = Image(b"", w, h)
    region = Region("a <box> star", tuple(boxes), tuple(quads))
    ((back,),) = regions_of(render(Sample((image, region), "vqa"), small, 4), small)
    for box, other in zip(boxes, back.boxes, strict=True):
        x0, y0, x1, y1 = box_to_grid(box, w, h)  # reading puts swapped corners right
        assert box_to_grid(other, w, h) == (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    assert [quad_to_grid(q, w, h) for q in back.quads] == [quad_to_grid(q, w, h) for q in quads]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=2, max_size=4))
def test_cells_put_together_are_the_string_encoded(small: QwenTokenizer, corners: list[tuple[int, int]]) -> None:
    cells = [value for corner in corners for value in corner]
    assert _cell_ids(cells, small) == small.encode(cells_text(cells))


def test_cells_with_the_released_vocabulary(qwen: QwenTokenizer) -> None:
    for cells in ((0, 0, 999, 999), (568, 121, 625, 131, 624, 182, 567, 172)):
        assert _cell_ids(cells, qwen) == qwen.encode(cells_text(cells))


def test_the_two_flags_of_a_region(small: QwenTokenizer) -> None:
    for phrase in (False, True):
        for place in (False, True):
            region = Region("star", (Box(1, 2, 3, 4),), (), 0, phrase, place)
            example = render(Sample((SQUARE, region), "vqa"), small, 2)
            answer = "<ref>star</ref>" * phrase + "<box>(1,2),(3,4)</box>" * place
            assert small.decode([x for x in example.labels if x != IGNORED]) == answer


def test_texts_of_a_sample() -> None:
    assert list(texts_of(Sample(FORMS[4][1], "referring"))) == ["the ear on a giraffe", "(176,106),(232,160)"]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Region("x", (Box(1, 2, 3, 4),), image=1), "in picture 1 .* but the sample has 1"),
        (Region("x", (Box(1, 2, 3, 4),), image=-1), "in picture -1"),
        (Region(None), "neither phrase nor place"),
        (Region("x", (Box(1, 2, float("nan"), 4),)), "finite"),
        (Special("<|im_stop|>"), "no special token"),
    ],
)
def test_what_cannot_be_written_names_the_sample(small: QwenTokenizer, part: Part, why: str) -> None:
    with pytest.raises(ValueError, match=rf"sample 42 of web \(vqa\): .*{why}"):
        render(Sample((SQUARE, part), "vqa", "web", "42"), small)


def test_no_slots_is_an_error(small: QwenTokenizer) -> None:
    with pytest.raises(ValueError, match="slots_per_image"):
        render(Sample((SQUARE,), "vqa"), small, 0)


def test_fast_enough_for_training(small: QwenTokenizer) -> None:
    """Thousands of short samples a second and core; a tenth of what is usual, so that a busy machine does not fail."""
    batch = [
        Sample(
            (SQUARE, Text(f" What is the colour of {i % 50}? Answer: "), Region("red", (Box(i, 2, 30, i),)), EOS), "vqa"
        )
        for i in range(500)
    ]
    start = time.process_time()
    for sample in batch:
        render(sample, small, 9)
    assert 500 / (time.process_time() - start) > 3000
