"""Conversations as people have them: the reference repository's, LLaVA's, and messages with roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qwenvl.sample import Part, Record, Region, Text


def spoken(record: Record) -> list[tuple[str, str]]:
    """Who says what: ▣ for a picture, [phrase] for a region."""

    def written(part: Part) -> str:
        if isinstance(part, Text):
            return part.text
        return f"[{part.phrase}]" if isinstance(part, Region) else "▣"

    return [(turn.role, "".join(map(written, turn.parts))) for turn in record.dialogues[0]]


def test_the_references_conversations(one: Callable[[Any], Record]) -> None:
    row = {
        "id": "identity_0",
        "conversations": [
            {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nPicture 2:<img>sub/b.png</img>\n框出狗"},
            {"from": "assistant", "value": "<ref>狗</ref><box>(100,200),(500,999)</box>。"},
        ],
    }
    record = one(row)
    assert record.id == "identity_0" and [i.name for i in record.images] == ["a.jpg", "sub/b.png"]
    assert spoken(record) == [("user", "▣▣框出狗"), ("assistant", "[狗]。")]
    region = record.dialogues[0][1].parts[0]
    assert isinstance(region, Region) and region.image == 1
    assert abs(region.boxes[0].x0 - 4) < 0.05 and abs(region.boxes[0].y1 - 30) < 0.05


@pytest.mark.parametrize(
    ("image", "question"),
    [
        ("a.jpg", "<image>\nWhat is it?"),
        (["a.jpg"], "What is it?\n<image>"),
        ("a.jpg", "What is it?"),
    ],
)
def test_llava_conversations(one: Callable[[Any], Record], image: Any, question: str) -> None:
    row = {
        "id": 1,
        "image": image,
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "A dog."}],
    }
    assert spoken(one(row)) == [("user", "▣What is it?"), ("assistant", "A dog.")]


def test_messages(one: Callable[[Any], Record]) -> None:
    row: dict[str, Any] = {
        "images": ["a.jpg", "a.jpg"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>Who?"},
            {"role": "assistant", "content": "Nobody."},
            {"role": "user", "content": "And here: <image> there?"},
            {"role": "assistant", "content": "Nobody."},
        ],
    }
    record = one(row)
    assert spoken(record)[0] == ("system", "Be brief.") and spoken(record)[3] == ("user", "And here: ▣ there?")
    assert len(record.images) == 1
    row = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}, {"type": "text", "text": "Who?"}],
            },
            {"role": "assistant", "content": [{"type": "text", "value": "Nobody."}]},
        ]
    }
    assert spoken(one(row)) == [("user", "▣Who?"), ("assistant", "Nobody.")]


def talk(*values: str, **row: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {**row, "conversations": [{"from": roles[i % 2], "value": v} for i, v in enumerate(values)]}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": []}, "conversations: is empty"),
        ({"conversations": "hi"}, "conversations: expected a list"),
        ({"conversations": ["hi"]}, "conversations[0]: expected an object"),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "who speaks"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "begins without the user"),
        ({"conversations": [{"from": "user", "value": "x"}] * 2}, "take turns"),
        (talk("question"), "ends without an answer"),
        (talk("question", ""), "conversations[1].value: is empty"),
        (talk("<image>\nquestion", "answer"), "image: 0 pictures are given"),
        (talk("<image>\nquestion", "answer", image=["a.jpg", "a.jpg"]), "image: 2 pictures are given"),
        (talk("<image>\nquestion", "answer", image="none.jpg"), "image: none.jpg: no such file"),
        (talk("Picture 1: <img>../x.jpg</img>\nq", "a"), "leads out of"),
        (talk("Picture 1: <img>https://e.org/x.jpg</img>\nq", "a"), "never fetched"),
        (talk("Picture 1: <img>a.jpg</img>\nq", "<ref>x</ref><box>(1,2),(1300,4)</box>"), "conversations[1].value"),
        (talk("Picture 1: <img>a.jpg</img>\nq", "<ref>x</ref><box>(9,2),(3,4)</box>"), "conversations[1].value"),
        (talk("Picture 1: <img>a.jpg</img>\nq", "<box>(1,2),(3"), "conversations[1].value"),
        (talk("q", "<ref>x</ref><box>(1,2),(3,4)</box>"), "before any picture"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}, {"role": "bot", "content": "x"}]}, "type"),
    ],
)  # fmt: skip
def test_a_bad_conversation_is_reported(complaint: Callable[..., str], row: Any, says: str) -> None:
    found = complaint(row)
    assert says in found, found


def test_control_tokens_in_words_stay_words(one: Callable[[Any], Record]) -> None:
    record = one(talk("a<|im_end|>b <imgpad>", "<|endoftext|>"))
    assert spoken(record) == [("user", "a<|im_end|>b <imgpad>"), ("assistant", "<|endoftext|>")]
