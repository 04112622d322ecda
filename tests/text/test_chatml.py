"""Dialogues against the reference's contexts, ids and labels; the Jinja template; the window over a long history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qwenvl.sample import Box, Image, Region, Special, Text, Turn
from qwenvl.text.chatml import DEFAULT_SYSTEM, dialogue_sample, picture_meant, window
from qwenvl.text.markup import image_names, parse_conversation_value
from qwenvl.text.render import IGNORED, render, render_prompt
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS


def picture(name: str = "a.png") -> Image:
    return Image(b"", 640, 427, name)


def turns_of(said: Sequence[tuple[str, str]]) -> list[Turn]:
    """Turns of (role, value in the reference's form)."""
    images: list[Image] = []
    turns = []
    for role, value in said:
        first = len(images)
        images += [picture(name) for name in image_names(value)]
        turns.append(Turn(role, parse_conversation_value(value, images, first)))  # type: ignore[arg-type]
    return turns


def said_in(case: dict[str, Any]) -> list[tuple[str, str]]:
    if "conversations" in case:
        return [(turn["from"], turn["value"]) for turn in case["conversations"]]
    return [*(pair for q, a in case["history"] for pair in (("user", q), ("assistant", a))), ("user", case["query"])]


def test_reference_contexts(golden: dict[str, Any], qwen: QwenTokenizer, fill_slots: Any) -> None:
    for case in golden["chat"]:
        example = render(dialogue_sample(turns_of(said_in(case)), system=case["system"], reply=True), qwen)
        assert example.ids == fill_slots(case["ids"], qwen)


def test_reference_fine_tuning(golden: dict[str, Any], qwen: QwenTokenizer, fill_slots: Any) -> None:
    for case in golden["sft"]:
        example = render(dialogue_sample(turns_of(said_in(case)), system=case["system"]), qwen)
        assert example.ids == fill_slots(case["input_ids"], qwen)
        assert example.labels == case["labels"]


def test_template_of_transformers(golden: dict[str, Any], qwen: QwenTokenizer, fill_slots: Any, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    qwen.save(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    for case in golden["chat"]:
        messages = [{"role": role, "content": value} for role, value in said_in(case)]
        assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == case["text"]
        system = {"role": "system", "content": case["system"]}
        assert (
            tokenizer.apply_chat_template([system, *messages], tokenize=False, add_generation_prompt=True)
            == case["text"]
        )
    for case in golden["sft"]:
        messages = [{"role": role, "content": value} for role, value in said_in(case)]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        example = render(dialogue_sample(turns_of(said_in(case))), qwen)
        bare = [picture_free for picture_free in example.ids if picture_free != qwen.image_slot_id]
        ids = fill_slots(tokenizer(text)["input_ids"], qwen)
        assert [number for number in ids if number != qwen.image_slot_id] == bare


def test_template_with_picture_items(small: QwenTokenizer, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    small.save(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    content = [{"type": "image"}, {"type": "image", "path": "b.png"}, {"type": "text", "text": "What differs?"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    turns = [Turn("user", (picture(), picture(), Text("What differs?")))]
    assert text == small.decode(render(dialogue_sample(turns, reply=True), small, 9).ids)


def test_pictures_are_numbered_and_regions_supervised_by_role(small: QwenTokenizer) -> None:
    box = (Box(0, 0, 64, 42.7),)
    turns = [
        Turn("user", (picture(), Text("Where is "), Region("it", box), Text("?"))),
        Turn("assistant", (Text("Here: "), Region("it", box, supervised=False))),
        Turn("user", (Text("And in "), picture("b.png"), Text("?"))),
        Turn("assistant", (Text("No."),)),
    ]
    sample = dialogue_sample(turns, source="s", id="7")
    assert (sample.task, sample.source, sample.id) == ("dialogue", "s", "7")
    example = render(sample, small, 4)
    place = "<ref>it</ref><box>(0,0),(100,100)</box>"
    assert small.decode(example.ids) == (
        f"<|im_start|>system\n{DEFAULT_SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\nPicture 1: <img></img>\nWhere is {place}?<|im_end|>\n"
        f"<|im_start|>assistant\nHere: {place}<|im_end|>\n"
        "<|im_start|>user\nAnd in Picture 2: <img></img>\n?<|im_end|>\n"
        "<|im_start|>assistant\nNo.<|im_end|>\n"
    )
    blue = small.decode([label for label in example.labels if label != IGNORED])
    silent = "<|im_start|><|im_end|>\n"
    assert blue == f"{silent}{silent}<|im_start|>Here: {place}<|im_end|>\n{silent}<|im_start|>No.<|im_end|>\n"


def test_prompt_of_a_dialogue_ends_before_the_last_answer(small: QwenTokenizer) -> None:
    turns = [Turn("user", (picture(), Text("Hi"))), Turn("assistant", (Text("Hello"),)), Turn("user", (Text("Bye"),))]
    asked = render(dialogue_sample(turns, reply=True), small, 4)
    answered = dialogue_sample([*turns, Turn("assistant", (Text("Bye bye"),))])
    assert render_prompt(answered, small, 4) == asked
    assert render_prompt(dialogue_sample(turns, reply=True), small, 4) == asked
    full = render(answered, small, 4)
    assert full.ids[: len(asked.ids)] == asked.ids and small.decode(full.ids[len(asked.ids) :]) == "Bye bye<|im_end|>\n"


def test_system_turn_takes_the_place_of_the_default(small: QwenTokenizer) -> None:
    turns = [Turn("system", (Text("Be short."),)), Turn("user", (Text("Hi"),))]
    assert small.decode(render(dialogue_sample(turns), small).ids).startswith(
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user"
    )


def test_errors_name_the_conversation() -> None:
    with pytest.raises(ValueError, match=r"conversation 12: turn 1 has role 'bot'"):
        dialogue_sample([Turn("bot", ())], id="12")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"turn 2 has role 'system'"):
        dialogue_sample([Turn("user", ()), Turn("system", ())])
    with pytest.raises(ValueError, match=r"control token <\|im_end\|>"):
        dialogue_sample([Turn("user", (Special("<|im_end|>"),))])


def test_no_dialogue_data_writes_a_control_token(small: QwenTokenizer) -> None:
    """Of a conversation file only well-formed places and pictures are special; a loose tag is an error of the row."""

    def controls(said: str) -> list[int]:
        turns = [
            Turn("user", parse_conversation_value(said, [])),
            Turn("assistant", parse_conversation_value(said, [])),
        ]
        return [number for number in render(dialogue_sample(turns), small).ids if small.is_special(number)]

    plain = controls("dog")
    for token in SPECIAL_TOKENS:
        for said in (token, f"a {token}b{token}"):
            try:
                assert controls(said) == plain
            except ValueError as error:
                assert token in SPECIAL_TOKENS[-9:-1] and "not well formed" in str(error)


def test_which_picture_words_mean() -> None:
    for words, count, otherwise, first, meant in (
        ("Picture 1, then image 2", 2, None, 1, 1),
        ("图1里", 3, 2, 1, 0),
        ("Picture 9", 2, 0, 1, 0),
        ("Picture 9", 2, None, 1, 1),
        ("it", 2, None, 1, 1),
        ("it", 0, None, 1, None),
        ("Picture 3", 2, None, 3, 0),
        ("Picture 1", 2, 1, 3, 1),
    ):
        assert picture_meant(words, count, otherwise, first) == meant


# -- the window ----------------------------------------------------------------------------------------------------


def exchanges(n: int) -> list[Turn]:
    return [turn for i in range(n) for turn in (Turn("user", (Text(f"q{i}"),)), Turn("assistant", (Text(f"a{i}"),)))]


def words(turns: Sequence[Turn]) -> list[str]:
    return [part.text for turn in turns for part in turn.parts if isinstance(part, Text)]


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (6, 3), (100, 3)])
def test_window_drops_the_oldest(limit: int, kept: int) -> None:
    turns = [*exchanges(3), Turn("user", (Text("now"),))]
    left = window(turns, limit, len)
    assert words(left) == [w for i in range(3 - kept, 3) for w in (f"q{i}", f"a{i}")] + ["now"]


def test_window_keeps_the_system_turn_and_counts_it() -> None:
    turns = [Turn("system", (Text("s"),)), *exchanges(2), Turn("user", (Text("now"),))]
    assert words(window(turns, 3, len)) == ["s", "q1", "a1", "now"]
    assert words(window(turns, 2, len)) == ["s", "now"]
    assert window([], 5, len) == ()


def test_window_counts_pictures_of_regions_anew(small: QwenTokenizer) -> None:
    first, second = picture("1.png"), picture("2.png")
    box = (Box(1, 2, 30, 40),)
    turns = [
        *(Turn("user", (first, Text("what?"))), Turn("assistant", (Text("a dog"),))),
        *(
            Turn("user", (second, Text("and?"))),
            Turn("assistant", (Region("cat", box, image=1), Region("dog", box, image=0))),
        ),
        Turn("user", (Text("where?"), Region(None, box, image=0))),
    ]
    left = window(turns, 2, len)
    assert left[0].parts == (second, Text("and?"))
    assert left[1].parts == (Region("cat", box, image=0), Text("dog"))
    assert left[2].parts == (Text("where?"),)
    text = small.decode(render(dialogue_sample(left, reply=True, first_picture=2), small, 4).ids)
    assert "Picture 2: <img></img>\nand?" in text


def test_window_with_the_renderer(small: QwenTokenizer) -> None:
    """Equal to the reference's rule: the system's words and the history stay under the limit, the question aside."""
    turns = [*exchanges(6), Turn("user", (Text("now"),))]

    def count(some: Sequence[Turn]) -> int:
        return len(render(dialogue_sample(some), small).ids)

    limit = count(exchanges(6)[4:])
    assert words(window(turns, limit, count)) == words(turns[4:])
    assert words(window(turns, limit - 1, count)) == words(turns[6:])
