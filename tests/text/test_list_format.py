"""The reference's list form of a text."""

from __future__ import annotations

from typing import Any

import pytest

from qwenvl.text.list_format import from_list_format, to_list_format


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
