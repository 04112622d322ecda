"""The model that ships sees: it loads by its name, is small, and answers about scenes that it never met."""

from __future__ import annotations

import json

import pytest

from qwenvl.data.synth.scenes import scene_record
from qwenvl.evaluate.run import evaluate
from qwenvl.model.load import PACKAGED, Loaded, load
from qwenvl.serve.chat import Chat

FOLDER = PACKAGED / "nano"


@pytest.fixture(scope="module")
def nano() -> Loaded:
    """The packaged model."""
    return load("nano")


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 6 << 20
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "recipe" in card and "seed" in card and "vqa/accuracy" in card


def test_it_scores_what_its_card_says(nano: Loaded) -> None:
    records = [scene_record(3, index, "test") for index in range(40)]
    found = evaluate(nano.model, nano.tokenizer, records, quiet=True)
    said = json.loads((FOLDER / "metrics.json").read_text(encoding="utf-8"))["scores"]
    for metric in ("vqa/accuracy", "caption/attribute_recall", "grounded_caption/accuracy"):
        score = found.scores[metric]["all"]
        # other scenes and few of them: the card's score must lie within three half-widths of this interval
        slack = 1.5 * (score["high"] - score["low"])
        assert abs(score["value"] - said[metric]["all"]["value"]) < slack, metric


def test_it_answers_in_chat_with_boxes(nano: Loaded) -> None:
    record = scene_record(1, 0, "test", 192)
    chat = Chat(nano.model, nano.tokenizer)
    reply = chat.ask("Draw a box around every object.", images=[record.images[0].pil()])
    assert reply.regions
    assert min(reply.draw().size) >= 192
