"""Conversations joined from annotations: what they hold, and that nothing but the recipe decides them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwenvl.cli.command import main
from qwenvl.data.clean.layout import RunError
from qwenvl.data.dialogues.recipe import load_dialogue_recipe
from qwenvl.data.dialogues.run import make
from qwenvl.data.sources import DataError, open_source
from qwenvl.sample import Image, Record, Region, Text
from qwenvl.typed import ConfigError
from tests.data.dialogues.conftest import write

Made = Callable[..., Any]


def records(folder: Path) -> list[Record]:
    return list(open_source(folder))


def words(record: Record) -> list[str]:
    return [
        "".join(part.text if isinstance(part, Text) else "·" for part in turn.parts) for turn in record.dialogues[0]
    ]


def test_questions_of_one_picture_are_joined_and_none_is_lost(recipe_of: Made, tmp_path: Path) -> None:
    found = make(recipe_of({"multi_turn": {"turns": [2, 2]}}), tmp_path / "out", workers=1, quiet=True)
    made = records(tmp_path / "out")
    assert found["conversations"] == len(made) == 16
    by_picture: dict[str, set[str]] = {}
    for record in made:
        asked = words(record)[::2]
        assert asked[0].startswith("·") and not any(text.startswith("·") for text in asked[1:])
        by_picture.setdefault(record.images[0].key, set()).update(text.strip("·") for text in asked)
    assert len(by_picture) == 8
    assert all({"What is the colour?", "How many dogs are there?"} < asked for asked in by_picture.values())
    assert sum(map(len, by_picture.values())) == 24


def test_captions_questions_and_boxes_of_different_rows_meet_in_one_conversation(
    recipe_of: Made, tmp_path: Path
) -> None:
    make(recipe_of({"several_tasks": {"turns": [3, 3]}}), tmp_path / "out", workers=1, quiet=True)
    made = records(tmp_path / "out")
    assert len(made) == 8
    for record in made:
        answers = [turn.parts for turn in record.dialogues[0] if turn.role == "assistant"]
        regions = [part for parts in answers for part in parts if isinstance(part, Region)]
        assert len(answers) == 3
        assert [(r.phrase, r.boxes[0].x0, r.image) for r in regions] == [("dog", 10.0, 0)]
        assert any("wall behind a dog" in text for text in words(record))
        assert {name.split("/")[1][0] for name in record.meta["from"]} == {"c", "q", "p"}


def test_several_pictures_are_named_and_regions_are_in_the_one_that_is_named(recipe_of: Made, tmp_path: Path) -> None:
    make(recipe_of({"several_pictures": {"turns": [5, 5]}}), tmp_path / "out", workers=1, quiet=True)
    made = records(tmp_path / "out")
    assert sum(len(record.images) for record in made) == 8
    regions = 0
    for record in made:
        turns = record.dialogues[0]
        shown = [part for part in turns[0].parts if isinstance(part, Image)]
        assert [image.key for image in shown] == [image.key for image in record.images]
        width = {image.key: 50 + int(image.name.split(".")[0]) for image in shown}
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            for part in answer.parts:
                if isinstance(part, Region):
                    asked = "".join(p.text for p in question.parts if isinstance(p, Text))
                    assert f"Picture {part.image + 1}" in asked
                    assert part.boxes[0].x1 == width[shown[part.image].key]
                    regions += 1
    assert regions


def test_text_only_talk_has_its_share(recipe_of: Made, pictures: Path, tmp_path: Path) -> None:
    text = {"share": 0.5, "sources": [{"source": str(pictures / "talk.jsonl")}]}
    recipe = recipe_of({"several_tasks": {}}, text=text)
    found = make(recipe, tmp_path / "out", workers=1, quiet=True)
    made = records(tmp_path / "out")
    assert len(made) == 16
    assert sum(not record.images for record in made) == 8
    assert found["text"] == {"share": 0.5, "wanted": 8, "kept": 8, "reached": 0.5}


def test_a_share_the_sources_can_not_give_is_said(
    recipe_of: Made, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = {"share": 0.9, "sources": [{"source": str(pictures / "talk.jsonl")}]}
    recipe = {"name": "t", "sources": [{"source": str(pictures / "data.jsonl")}], "text": text}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe | {"strategies": {"several_tasks": {}}}))
    assert main(["data", "dialogues", str(tmp_path / "recipe.yaml"), str(tmp_path / "out"), "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "not 90.0%: 72 were wanted, the sources have 20" in told
    assert (tmp_path / "out" / "examples.html").exists()


STRATEGIES = {"multi_turn": {}, "several_tasks": {}, "several_pictures": {}}


def test_the_same_whatever_the_workers_and_another_with_another_seed(recipe_of: Made, tmp_path: Path) -> None:
    for name, workers, seed in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        recipe = recipe_of(STRATEGIES, seed=seed, buckets=4, rows_per_unit=2)
        make(recipe, tmp_path / name, workers=workers, quiet=True)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).glob("*.parquet")} for name in "abc"]
    assert len(files[0]) > 1
    assert files[0] == files[1] != files[2]


def test_goes_on_where_it_was_stopped(recipe_of: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(STRATEGIES)
    make(recipe, tmp_path / "whole", workers=1, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr("qwenvl.data.dialogues.run.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(recipe, tmp_path / "cut", workers=1, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr("qwenvl.data.dialogues.run.gather", lambda *_: 1 / 0)  # what was read is not read again
        make(recipe, tmp_path / "cut", workers=1, quiet=True)
    assert (tmp_path / "whole" / "00000.parquet").read_bytes() == (tmp_path / "cut" / "00000.parquet").read_bytes()
    assert not (tmp_path / "cut" / "work").exists()


def test_a_folder_of_another_recipe_is_left_alone(recipe_of: Made, tmp_path: Path) -> None:
    make(recipe_of(STRATEGIES), tmp_path / "out", workers=1, quiet=True)
    with pytest.raises(RunError, match="--fresh"):
        make(recipe_of(STRATEGIES, seed=5), tmp_path / "out", workers=1, quiet=True)
    make(recipe_of(STRATEGIES, seed=5), tmp_path / "out", workers=1, quiet=True, fresh=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match=r"mine\.txt"):
        make(recipe_of(STRATEGIES), tmp_path / "other", workers=1, quiet=True, fresh=True)


def test_what_is_dropped_is_kept_with_its_reason(recipe_of: Made, tmp_path: Path) -> None:
    recipe = recipe_of({"multi_turn": {"turns": [1, 2]}}, max_tokens=64, picture_tokens=20)
    make(recipe, tmp_path / "out", workers=1, quiet=True)
    with pytest.raises(DataError, match="longer than max_tokens 24"):
        make(recipe_of({"multi_turn": {}}, max_tokens=64), tmp_path / "none", workers=1, quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "none" / "dropped" / "00000.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    assert rows[0]["reason"] == "longer than max_tokens" and rows[0]["strategy"] == "multi_turn"


def test_training_reads_it(recipe_of: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(recipe_of(STRATEGIES), tmp_path / "out", workers=1, quiet=True)
    assert main(["inspect", str(tmp_path / "out"), "--task", "dialogue", "--count", "2"]) == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>**user⏎\nPicture 1: <img>[" in shown and "**<|im_end|>" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("strategies.multi_turn.turns=[4,2]", "expected \\[fewest, most\\]"),
        ("strategies.multi_turn.weight=0", "weight: expected more than 0"),
        ("strategies.multi_trun={}", "did you mean 'multi_turn'"),
        ("text.share=1.0", "sources"),
        ("sources=[]", "'sources' is empty"),
        ("buckets=100000", "at most 512"),
        ("strategies.llm={base_url: 'http://me:key@x/v1', model: m}", "holds a name, password"),
        ("strategies.llm={base_url: 'file:///x', model: m}", "expected an address"),
        ("strategies.llm={base_url: 'http://x/v1', model: m, key_env: sk-1234}", "not the key itself"),
        ("strategies.llm={base_url: 'http://x/v1', model: m, max_cost: 1}", "needs 'price'"),
    ],
)
def test_wrong_recipes(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dialogue_recipe("scenes", [change])


def test_the_packaged_recipes_can_be_read() -> None:
    assert load_dialogue_recipe("llm").strategies.llm is not None
    assert load_dialogue_recipe("scenes").text is None


def test_own_wordings(recipe_of: Made, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text('describe: {one: {en: ["Say what you see!"]}}')
    recipe = recipe_of({"several_tasks": {"turns": [4, 4]}}, wordings=str(tmp_path / "w.yaml"))
    make(recipe, tmp_path / "out", workers=1, quiet=True)
    assert all(any("Say what you see!" in text for text in words(record)) for record in records(tmp_path / "out"))
    (tmp_path / "w.yaml").write_text('where: {one: {en: ["Where?"]}}')
    with pytest.raises(ConfigError, match=r"must have \{it\}"):
        make(recipe, tmp_path / "other", workers=1, quiet=True)


def test_single_questions_in_conversation_form_are_joined_too(recipe_of: Made, pictures: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"r{i}", "image": "0.png", "conversations": [
            {"from": "human", "value": f"<image>\nWhat is number {i}?"},
            {"from": "gpt", "value": "<ref>dog</ref><box>(100,100),(500,500)</box>"}]}
        for i in range(3)
    ]  # fmt: skip
    write(pictures / "llava.jsonl", rows)
    recipe = recipe_of({"multi_turn": {"turns": [3, 3]}}, sources=[{"source": str(pictures / "llava.jsonl")}])
    make(recipe, tmp_path / "out", workers=1, quiet=True)
    (record,) = records(tmp_path / "out")
    assert sorted(text.strip("·") for text in words(record)[::2]) == [f"What is number {i}?" for i in range(3)]
    assert [part.image for turn in record.dialogues[0] for part in turn.parts if isinstance(part, Region)] == [0] * 3


def test_a_text_source_with_pictures_is_told_of(recipe_of: Made, pictures: Path, tmp_path: Path) -> None:
    text = {"share": 0.5, "sources": [{"source": str(pictures / "data.jsonl")}]}
    found = make(recipe_of({"several_tasks": {}}, text=text), tmp_path / "out", workers=1, quiet=True)
    assert found["dropped"]["data.jsonl"] == {"has a picture: name it among the sources": 24}
    assert found["text"]["kept"] == 0


def test_pages_of_text_alone_are_read_by_their_number(recipe_of: Made, pictures: Path, tmp_path: Path) -> None:
    lines = [{"text": "hello", "box": [1, 1, 50, 20]}]
    write(pictures / "pages.jsonl", [{"id": f"p{i}", "image": f"{i}.png", "lines": lines} for i in range(2)])
    recipe = recipe_of({"several_pictures": {}}, sources=[{"source": str(pictures / "pages.jsonl")}])
    make(recipe, tmp_path / "out", workers=1, quiet=True)
    (record,) = records(tmp_path / "out")
    for question, answer in zip(record.dialogues[0][::2], record.dialogues[0][1::2], strict=True):
        (region,) = answer.parts
        assert isinstance(region, Region) and isinstance(question.parts[-1], Text)
        assert region.phrase == "hello" and f"Picture {region.image + 1}" in question.parts[-1].text
