"""Paraphrases of the prompts from a file: used where they are given, checked, and never a draw where there are none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qwenvl.data.loader import Batches, Settings
from qwenvl.data.mixture import MemoryShards, Part, Share
from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import Text
from qwenvl.tasks import EXACT, TASKS, grounded_caption
from qwenvl.tasks.wording import load_wording, wording_of
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.typed import ConfigError

FILE = """
caption: {en: ["Describe the picture: ", "Caption: "], zh: ["描述图片："]}
vqa: {en: [" Question: {} Short answer: "]}
grounded_caption: {en: ["The thing{} is "]}
ocr: {zh: ["识别文字："]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "words.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paraphrases_are_used_by_the_captions_language(tmp_path: Path) -> None:
    words = load_wording(write(tmp_path, FILE))
    record = scene_record(0, 3, "train", 96)
    found: dict[str, set[str]] = {}
    for seed in range(20):
        for task, make in TASKS.items():
            for sample in make(record, random.Random(seed), None, words):
                said = "".join(part.text for part in sample.parts if isinstance(part, Text) and not part.supervised)
                found.setdefault(task, set()).add(said)
    assert found["caption"] == {"Describe the picture: ", "Caption: ", "描述图片："}
    assert all(said.startswith(" Question: ") or said.endswith("回答：") for said in found["vqa"])
    assert "Generate the caption in English with grounding: " in found["grounding"]
    (sample, *_) = grounded_caption.samples(record, random.Random(0), None, words)
    assert sample.parts[1].phrase == "The thing"  # type: ignore[union-attr]
    assert sample.parts[2].text.startswith(" is ")  # type: ignore[union-attr]


def test_the_papers_words_draw_nothing() -> None:
    record = scene_record(0, 3, "train", 96)
    rng = random.Random(1)
    before = rng.getstate()
    for make in TASKS.values():
        assert make(record, rng) == make(record, rng, None, EXACT)
    assert rng.getstate() == before


def test_training_takes_them() -> None:
    tokenizer = QwenTokenizer.train_small(["Name it: a red star"], 300)
    words = wording_of({"caption": {"en": ["Name it: "], "zh": ["Name it: "]}}, "test")
    settings = Settings({"caption": Share(1.0, 1)}, 32, 4, 256, 1, 0, wording=words)
    batches = Batches([Part(MemoryShards([scene_record(0, 0, "train", 48)]))], tokenizer, settings)
    assert "Name it: " in tokenizer.decode([int(i) for i in next(iter(batches)).ids[0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("capton: {en: [x]}", "capton.*did you mean 'caption'"),
        ("referring: {en: [x]}", "'referring' has no words of its own"),
        ("caption: {fr: [x]}", "'fr' is none of: en, zh"),
        ("caption: {en: []}", "expected 1 to 1000 forms"),
        ("caption: {en: ['a {} b']}", "no {} unlike"),
        ("vqa: {en: ['Answer: ']}", "exactly one {}, the place of the question"),
        ("caption: {en: ['  ']}", "1 to 500 characters"),
        ("- a", "expected a mapping"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_wording(write(tmp_path, text))
    with pytest.raises(ConfigError, match="can not be read"):
        load_wording(tmp_path / "gone.yaml")
