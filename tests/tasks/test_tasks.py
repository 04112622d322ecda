"""The forms of the seven tasks to the letter (paper, appendix B), and which parts are supervised."""

from __future__ import annotations

import random

import pytest
from PIL import Image as PILImage

from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import (
    QA,
    Box,
    Caption,
    Image,
    Phrase,
    Quad,
    Record,
    Region,
    Sample,
    Special,
    Text,
    TextLine,
    Turn,
)
from qwenvl.tasks import TASKS, caption, dialogue, grounded_caption, grounding, ocr, referring, text, vqa
from qwenvl.text.geometry import box_from_grid, box_to_grid, quad_from_grid, quad_to_grid
from qwenvl.text.markup import box_text, quad_text

IMAGE = Image(PILImage.new("RGB", (640, 480)), 640, 480)


def box(*cells: int) -> Box:
    return box_from_grid(cells, 640, 480)  # type: ignore[arg-type]


def quad(*cells: int) -> Quad:
    return quad_from_grid(cells, 640, 480)  # type: ignore[arg-type]


def marked(sample: Sample) -> str:
    """The sample as the paper prints it, supervised stretches between ** (written here, not by the renderer)."""
    pieces: list[tuple[str, bool]] = []
    for part in sample.parts:
        if isinstance(part, Image):
            pieces.append(("<img>…</img>", False))
        elif isinstance(part, Text):
            pieces.append((part.text, part.supervised))
        elif isinstance(part, Special):
            pieces.append((part.token.replace("<|endoftext|>", "<eos>"), part.supervised))
        else:
            if part.phrase is not None:
                pieces.append((f"<ref>{part.phrase}</ref>", part.phrase_supervised))
            places = [f"<box>{box_text(box_to_grid(b, 640, 480))}</box>" for b in part.boxes]
            places += [f"<quad>{quad_text(quad_to_grid(q, 640, 480))}</quad>" for q in part.quads]
            pieces += [(place, part.supervised) for place in places]
    out, blue = "", False
    for piece, supervised in pieces:
        out += ("**" if supervised != blue and piece else "") + piece
        blue = supervised if piece else blue
    return out + ("**" if blue else "")


def only(task: str, record: Record) -> str:
    [sample] = TASKS[task](record, random.Random(0))  # type: ignore[index]
    assert sample.task == task and sample.source == "s" and sample.id.startswith("r/")
    return marked(sample)


def record(**fields: object) -> Record:
    return Record("r", "s", images=(IMAGE,), **fields)  # type: ignore[arg-type]


def test_caption() -> None:
    told = Caption("the beautiful flowers for design.")
    assert only("caption", record(captions=(told,))) == (
        "<img>…</img>Generate the caption in English: **the beautiful flowers for design.<eos>**"
    )
    assert only("caption", record(captions=(Caption("花", "zh"),))) == "<img>…</img>用中文生成图片描述：**花<eos>**"


def test_vqa_and_ocr_vqa() -> None:
    qa = QA("What is the title of this book?", "Asi Se Dice!", reads_text=True)
    assert only("vqa", record(qas=(qa,))) == (
        "<img>…</img> What is the title of this book? Answer: **Asi Se Dice!<eos>**"
    )
    assert only("vqa", record(qas=(QA("{}是什么？", "花", "zh"),))) == "<img>…</img>{}是什么？回答：**花<eos>**"


def test_grounding() -> None:
    words = "Beautiful shot of bees gathering nectars from an apricot flower"
    spans = ((18, 22, (box(661, 612, 833, 812), box(120, 555, 265, 770))), (46, 63, (box(224, 13, 399, 313),)))
    assert only("grounding", record(captions=(Caption(words, spans=spans),))) == (
        "<img>…</img>Generate the caption in English with grounding: **Beautiful shot of "
        "<ref>bees</ref><box>(661,612),(833,812)</box><box>(120,555),(265,770)</box> gathering nectars from "
        "<ref>an apricot flower</ref><box>(224,13),(399,313)</box><eos>**"
    )
    assert grounding.samples(record(captions=(Caption("no boxes"),)), random.Random(0)) == []
    assert marked(grounding.prompt(IMAGE, "zh")) == "<img>…</img>用中文生成带定位的图片描述："


@pytest.mark.parametrize("spans", [((3, 2, ()),), ((0, 9, ()),), ((0, 2, ()), (1, 3, ()))])
def test_spans_that_do_not_fit_are_refused(spans: tuple[tuple[int, int, tuple[Box, ...]], ...]) -> None:
    with pytest.raises(ValueError, match="disjoint"):
        grounding.answer(Caption("four", spans=spans))


def test_referring() -> None:
    phrase = Phrase("the ear on a giraffe", (box(176, 106, 232, 160),))
    assert only("referring", record(phrases=(phrase,))) == (
        "<img>…</img><ref>the ear on a giraffe</ref>**<box>(176,106),(232,160)</box><eos>**"
    )
    assert referring.samples(record(phrases=(Phrase("x", (), referring=True),)), random.Random(0)) == []
    assert referring.samples(record(phrases=(Phrase("x", phrase.boxes, referring=False),)), random.Random(0)) == []


def test_grounded_captioning() -> None:
    told = "Yellow cross country ski racing gloves"
    phrase = Phrase("gloves", (box(360, 542, 476, 705),), referring=False, description=told)
    assert only("grounded_caption", record(phrases=(phrase,))) == (
        f"<img>…</img><ref>This</ref><box>(360,542),(476,705)</box>** is {told}<eos>**"
    )
    chinese = Phrase("手套", (box(360, 542, 476, 705),), "zh", description="手套")
    assert only("grounded_caption", record(phrases=(chinese,))) == (
        "<img>…</img><ref>这</ref><box>(360,542),(476,705)</box>**是手套<eos>**"
    )


def test_ocr() -> None:
    line = TextLine("It is managed", quad(568, 121, 625, 131, 624, 182, 567, 172))
    english, chinese = ocr.samples(record(lines=(line, line)), random.Random(0))
    found = "<ref>It is managed</ref><quad>(568,121),(625,131),(624,182),(567,172)</quad>" * 2
    assert marked(english) == f"<img>…</img>OCR with grounding: **{found}<eos>**"
    assert marked(chinese) == f"<img>…</img>带定位的文字识别：**{found}<eos>**"
    assert ocr.samples(record(), random.Random(0)) == []


def test_text() -> None:
    assert only("text", Record("r", "s", texts=("all of it",))) == "**all of it<eos>**"


def test_dialogue() -> None:
    turns = (Turn("user", (IMAGE, Text("Where?"))), Turn("assistant", (Region("it", (box(1, 2, 3, 4),)),)))
    [sample] = dialogue.samples(record(dialogues=(turns,)), random.Random(0))
    said = marked(sample)
    assert "Picture 1: <img>…</img>\nWhere?" in said and "**<ref>it</ref><box>(1,2),(3,4)</box>" in said


def test_a_prompt_is_the_beginning_of_its_sample() -> None:
    for index in range(30):
        scene = scene_record(9, index, "test")
        picture = scene.images[0]
        made = {task: TASKS[task](scene, random.Random(0)) for task in TASKS}
        for sample, told in zip(made["caption"], scene.captions, strict=True):
            assert caption.prompt(picture, told.language).parts == sample.parts[:2]
        for sample, told in zip(made["grounding"], scene.captions, strict=True):
            assert grounding.prompt(picture, told.language).parts == sample.parts[:2]
        for sample, qa in zip(made["vqa"], scene.qas, strict=True):
            assert vqa.prompt(picture, qa.question, qa.language).parts == sample.parts[:2]
        for sample in made["referring"]:
            region, asked = sample.parts[1], referring.prompt(picture, sample.parts[1].phrase).parts[1]  # type: ignore[union-attr, arg-type]
            assert isinstance(region, Region) and isinstance(asked, Region)
            assert asked.phrase == region.phrase and not asked.boxes and not region.phrase_supervised
        for sample in made["grounded_caption"]:
            region = sample.parts[1]
            assert isinstance(region, Region)
            language = "en" if region.phrase == "This" else "zh"
            assert grounded_caption.prompt(picture, region.boxes[0], language).parts == sample.parts[:2]
        for sample, language in zip(made["ocr"], ("en", "zh"), strict=False):
            assert ocr.prompt(picture, language).parts == sample.parts[:2]  # type: ignore[arg-type]
        assert made["text"] and made["dialogue"]
        ids = [sample.id for samples in made.values() for sample in samples]
        assert len(ids) == len(set(ids))
    assert marked(text.prompt("Once")) == "Once"


def test_a_record_without_a_picture_gives_text_alone() -> None:
    bare = Record("r", "s", captions=(Caption("x"),), qas=(QA("q", "a"),), texts=("t",))
    assert {task for task in TASKS if TASKS[task](bare, random.Random(0))} == {"text"}
