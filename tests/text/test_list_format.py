"""The reference's list form of a text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.sample import Box, Image, Region, Sample, Text
from qwenvl.text.list_format import from_list_format, parts_from_list, to_list_format
from qwenvl.text.render import render
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS


def test_reference(list_golden: list[dict[str, Any]]) -> None:
    for case in list_golden:
        assert from_list_format(case["elements"]) == case["text"]
        assert to_list_format(case["text"]) == case["parsed"]


def test_forms_of_a_place() -> None:
    assert from_list_format([{"box": [1, 2, 3, 4]}]) == "<box>(1,2),(3,4)</box>"
    assert from_list_format([{"box": "(1,2),(3,4)"}]) == "<box>(1,2),(3,4)</box>"
    quad = [{"ref": "a", "quad": [[1, 2, 3, 4, 5, 6, 7, 8]]}]
    assert from_list_format(quad) == "<ref>a</ref><quad>(1,2),(3,4),(5,6),(7,8)</quad>"


def test_what_is_not_closed_stays_text() -> None:
    assert to_list_format("a <box>(1,2)") == [{"text": "a <box>(1,2)"}]
    assert to_list_format("") == []


def test_unknown_element() -> None:
    with pytest.raises(ValueError, match="element 1"):
        from_list_format([{"text": "a"}, {"video": "b"}])


def picture(_: object) -> Image:
    return Image(b"", 1000, 1000)


def test_parts_are_what_the_text_says(list_golden: list[dict[str, Any]], small: QwenTokenizer) -> None:
    for case in list_golden:
        parts = parts_from_list(case["elements"], picture)
        ids = render(Sample(parts, "text"), small, 4).ids
        bare = "".join(line.split(":", 1)[1] for line in case["text"].splitlines(keepends=True) if ":<img>" in line)
        bare = bare.replace("\n", "") + case["text"].splitlines()[-1]
        for name in ("a.jpg", "b.jpg"):
            bare = bare.replace(name, "")
        assert small.decode(ids) == bare
    (region,) = parts_from_list([{"image": "a"}, {"ref": "dog", "box": "(1,2),(3,4)"}], picture)[1:]
    assert region == Region("dog", (Box(1.5, 2.5, 3.5, 4.5),))
    assert parts_from_list([{"ref": "dog"}], picture) == (Region("dog"),)


def test_what_is_no_place_is_said() -> None:
    for element in (
        {"box": "a</box>"},
        {"quad": [1, 2, 3, 4]},
        {"box": [1, 2, 3, 4000]},
        {"box": [1, 2]},
        {"video": 1},
    ):
        with pytest.raises(ValueError, match="element 1"):
            parts_from_list([{"image": 0}, element], picture)
    with pytest.raises(ValueError, match="before any picture"):
        parts_from_list([{"box": [1, 2, 3, 4]}], picture)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "<img>a</img>", "<box>(1,2),(3,4)</box>", "dog"])).map("".join))
def test_values_never_become_special(small: QwenTokenizer, value: str) -> None:
    def specials(said: str) -> list[int]:
        parts = parts_from_list([{"image": 0}, {"text": said}, {"ref": said, "box": [1, 2, 3, 4]}], picture)
        return [number for number in render(Sample(parts, "text"), small, 2).ids if small.is_special(number)]

    assert specials(value) == specials("dog")
    assert Text(value) in parts_from_list([{"text": value}], picture)
