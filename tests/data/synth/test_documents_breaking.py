"""Line breaking: words stay whole, the Chinese rules for marks hold, nothing is lost."""

from __future__ import annotations

import random

import pytest

from qwenvl.data.synth.documents_breaking import CLOSING, OPENING, atoms, fill, text_of
from qwenvl.data.synth.documents_text import Sentences


def lines(text: str, limit: int, indent: int = 0) -> list[str] | None:
    """Set with letters of one and hanzi of two units."""
    found = fill(atoms(text), lambda piece: sum(2 if ord(c) > 0x2E80 else 1 for c in piece), 1, limit, indent)
    return None if found is None else [text_of(line) for line in found]


def test_words_are_never_broken() -> None:
    text = "A well-known (and rather long) sentence, with 3.14 and don't: “quoted words”."
    for limit in range(12, 40):
        found = lines(text, limit)
        assert found is not None
        assert " ".join(found).split() == text.split()
        assert all(len(line) <= limit for line in found)


def test_a_word_wider_than_the_line_is_told() -> None:
    assert lines("a incomprehensibility b", 10) is None


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("今天很好，我们走吧。", 8, ["今天很", "好，我们", "走吧。"]),
        ("他说：“你好”。", 6, ["他说：", "“你", "好”。"]),
        ("看（图三）吧", 6, ["看（图", "三）吧"]),
        ("等等……再说——好", 8, ["等等……再", "说——好"]),
    ],
)
def test_marks(text: str, limit: int, expected: list[str]) -> None:
    assert lines(text, limit) == expected


def test_no_line_begins_with_a_closing_mark_nor_ends_with_an_opening_one() -> None:
    rng = random.Random(5)
    source = Sentences()
    for number in range(300):
        text = "".join(source.sentences(rng, "zh", 4))
        found = lines(text, rng.randint(16, 60), indent=4 * (number % 2))
        if found is None:  # a number of ten figures in a narrow column
            continue
        assert "".join(found).replace(" ", "") == text.replace(" ", "")
        for line in found:
            assert line[0] not in CLOSING and line[-1] not in OPENING, line
            assert not line.startswith(("—", "…")), line


def test_a_text_that_begins_with_a_closing_mark_loses_it() -> None:
    assert lines("，。开始", 20) == ["开始"]
    assert lines("。，", 20) == []


def test_the_indent_is_given_up_for_a_word_that_needs_the_line() -> None:
    assert lines("abcdefgh ij", 9, indent=4) == ["abcdefgh", "ij"]
