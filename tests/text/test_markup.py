"""Tagged text: what is well formed comes back unchanged, and nothing that a model may emit raises."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwenvl.sample import Image, Region, Text
from qwenvl.text import markup as m
from qwenvl.text.markup import ImageSpan, RegionSpan, TextSpan

IMAGE = Image(b"", 1000, 500, "a.jpg")
OTHER = Image(b"", 200, 100, "b.jpg")

# -- well formed ---------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(blacklist_characters="<＜", blacklist_categories=("Cs",)), min_size=1)
CELL = st.integers(0, 999)
BOX = st.tuples(CELL, CELL, CELL, CELL).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
QUAD = st.tuples(*[CELL] * 8)
REGION = st.one_of(
    st.builds(RegionSpan, WORDS, st.lists(BOX, max_size=3).map(tuple), st.lists(QUAD, max_size=2).map(tuple)),
    st.builds(RegionSpan, st.none(), st.lists(BOX, min_size=1, max_size=3).map(tuple)),
)
SPANS = st.lists(
    st.one_of(WORDS.filter(str.strip).map(TextSpan), REGION, st.sampled_from(["", "a.jpg", "图/猫.jpg"]).map(ImageSpan))
)


@given(SPANS)
def test_format_after_parse_is_identity(spans: list[m.Span]) -> None:
    text = m.format_spans(spans)
    assert m.format_spans(m.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", []),
        ("plain", [TextSpan("plain")]),
        (
            "<ref>bees</ref><box>(661,612),(833,812)</box><box>(120,555),(265,770)</box> gathering",
            [RegionSpan("bees", ((661, 612, 833, 812), (120, 555, 265, 770))), TextSpan(" gathering")],
        ),
        (
            "<ref>It is managed</ref><quad>(568,121),(625,131),(624,182),(567,172)</quad>",
            [RegionSpan("It is managed", (), ((568, 121, 625, 131, 624, 182, 567, 172),))],
        ),
        ("<box>(1,2),(3,4)</box>", [RegionSpan(None, ((1, 2, 3, 4),))]),
        ("<ref>狗</ref>在哪", [RegionSpan("狗"), TextSpan("在哪")]),
        ("Picture 1: <img>a.jpg</img>\n", [TextSpan("Picture 1: "), ImageSpan("a.jpg"), TextSpan("\n")]),
        ("a<b>c</b> 3 < 4", [TextSpan("a<b>c</b> 3 < 4")]),
    ],
)
def test_well_formed(text: str, spans: list[m.Span]) -> None:
    assert m.parse(text) == spans
    assert m.format_spans(spans) == text


def test_writing() -> None:
    assert m.box_text((661, 612, 833, 812)) == "(661,612),(833,812)"
    assert m.quad_text((1, 2, 3, 4, 5, 6, 7, 8)) == "(1,2),(3,4),(5,6),(7,8)"


# -- what a model may emit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("<box>unclosed", [TextSpan("unclosed")]),
        ("<box>(1,2),(3,4) and words", [RegionSpan(None, ((1, 2, 3, 4),)), TextSpan(" and words")]),
        ("<ref>dog<box>(1,2),(3,4)</box>", [RegionSpan("dog", ((1, 2, 3, 4),))]),
        ("<ref>dog", [RegionSpan("dog")]),
        ("<ref>a<ref>b</ref><box>(1,2),(3,4)", [RegionSpan("a"), RegionSpan("b", ((1, 2, 3, 4),))]),
        ("<box>(833,812),(661,612)</box>", [RegionSpan(None, ((661, 612, 833, 812),))]),
        ("<box>(1,2),(3000,-4)</box>", [RegionSpan(None, ((1, 0, 999, 2),))]),
        ("<box>(1,2)</box>", []),
        ("<box>(1,2),(3)</box>x", [TextSpan("x")]),
        ("<box>(1,2),(9,4),(5,6)</box>", [RegionSpan(None, ((1, 2, 9, 6),))]),
        ("<quad>(1,2),(3,4)</quad>", [RegionSpan(None, (), ((1, 2, 3, 2, 3, 4, 1, 4),))]),
        ("<quad>(1,2),(9,2),(9,8)</quad>", [RegionSpan(None, (), ((1, 2, 9, 2, 9, 8, 1, 8),))]),
        ("＜BOX＞（１２，３），（４５，６）＜/box＞", [RegionSpan(None, ((12, 3, 45, 6),))]),
        (
            "<ref>a</ref> \n<box>(1,2),(3,4)</box> <box>(5,6),(7,8)</box>",
            [RegionSpan("a", ((1, 2, 3, 4), (5, 6, 7, 8)))],
        ),
        ("</box>x</ref>", [TextSpan("x")]),
        ("<box>1 2 3 4</box>", [RegionSpan(None, ((1, 2, 3, 4),))]),
        ("<box>(1.5,2.9),(3,4)</box>", [RegionSpan(None, ((1, 2, 3, 4),))]),
        ("<box>(1,2),(3,4)</quad>!", [RegionSpan(None, ((1, 2, 3, 4),)), TextSpan("!")]),
        ("<img>half", [TextSpan("half")]),
        ("yes<|im_end|>\n<|endoftext|>", [TextSpan("yes\n")]),
        ("<img><imgpad><imgpad></img>", [ImageSpan("")]),
        ("<box>(" + "9" * 5000 + ",1),(2,3)</box>", [RegionSpan(None, ((2, 1, 999, 3),))]),
        ("<box>(²,³),(1,2),(3,4)</box>", [RegionSpan(None, ((1, 2, 3, 4),))]),
    ],
)
def test_tolerant(text: str, spans: list[m.Span]) -> None:
    assert m.parse(text) == spans


PIECES = st.sampled_from(
    (
        *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>", "<|im_end|>"),
        *("＜box＞", "(1,2)", "(12,34),(5,6)", ",", " ", "\n", "1e9", "-7", "99999", "（１，２）", "狗", "word"),
        *("<", "<|", "/", ">", "①²"),
    )
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example("<" * 2000)
@example("<box>" * 500)
@example("\ud800<box>\udfff")
def test_anything_parses(text: str) -> None:
    spans = m.parse(text)
    canonical = m.format_spans(spans)
    assert m.format_spans(m.parse(canonical)) == canonical
    for region in m.to_regions(text, 640, 480):
        for box in region.boxes:
            assert 0 <= box.x0 <= box.x1 <= 640 and 0 <= box.y0 <= box.y1 <= 480
    assert isinstance(m.strip(text), str)


def test_to_regions_and_strip() -> None:
    text = "A <ref>red star</ref><box>(0,0),(499,499)</box> and <ref>nothing</ref>."
    (region,) = m.to_regions(text, 200, 100, image=2)
    assert region.phrase == "red star" and region.image == 2
    assert region.boxes[0].x1 == pytest.approx(99.9) and region.boxes[0].y1 == pytest.approx(49.95)
    assert m.strip(text) == "A red star and nothing."


# -- conversations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colon", ["Picture 1: ", "Picture 1:", "Picture 1：", ""])
def test_conversation_value_with_and_without_the_space(colon: str) -> None:
    value = f"{colon}<img>a.jpg</img>\n图中的狗是什么品种？"
    assert m.image_names(value) == ["a.jpg"]
    assert m.parse_conversation_value(value, [IMAGE]) == (IMAGE, Text("图中的狗是什么品种？"))


def test_conversation_value_of_two_pictures() -> None:
    value = "Picture 1: <img>a.jpg</img>\nPicture 2: <img>b.jpg</img>\nWhat differs?"
    assert m.image_names(value) == ["a.jpg", "b.jpg"]
    assert m.parse_conversation_value(value, [IMAGE, OTHER]) == (IMAGE, OTHER, Text("What differs?"))


def test_conversation_value_of_llava() -> None:
    assert m.image_names("<image>\nWhat?") == [""]
    assert m.parse_conversation_value("<image>\nWhat?", [IMAGE]) == (IMAGE, Text("What?"))
    assert m.parse_conversation_value("What?\n<image>", [IMAGE]) == (Text("What?\n"), IMAGE)


def test_conversation_boxes_become_pixels_of_the_last_picture() -> None:
    parts = m.parse_conversation_value("See <ref>it</ref><box>(0,0),(999,999)</box>.", [IMAGE, OTHER], first=2)
    region = parts[1]
    assert isinstance(region, Region) and region.image == 1 and region.phrase == "it"
    assert region.boxes[0].x1 == pytest.approx(199.9) and region.boxes[0].y1 == pytest.approx(99.95)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("<box>(1,2),(3,4)</box>", "before any picture"),
        ("<img>a.jpg</img><box>(1,2),(3,4000)</box>", "well formed"),
        ("<img>a.jpg</img><ref>x", "well formed"),
        ("<img>a.jpg</img><img>b.jpg</img>", "only 1"),
    ],
)
def test_conversation_errors(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        m.parse_conversation_value(value, [IMAGE])
