"""Other harnesses: a question's parts in order, options and ends, and entry points where those harnesses look.

The harnesses themselves are not installed here: small modules stand in for the bases they give.
"""

from __future__ import annotations

import sys
import tomllib
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from qwenvl.evaluate.adapters.answerer import Answerer, question_parts
from qwenvl.sample import Image, Text
from qwenvl.serve.engine import Generation


@pytest.fixture
def harnesses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    table: dict[str, Any] = {}

    class Base:
        def __init__(self) -> None:
            self.task_dict: dict[str, Any] = {}
            self.cache_hook = types.SimpleNamespace(add_partial=lambda *_: None)

    contents: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": Base},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": lambda **fields: types.SimpleNamespace(**fields)},
        "vlmeval": {},
        "vlmeval.config": {"supported_VLM": table},
        "vlmeval.vlm": {},
        "vlmeval.vlm.base": {"BaseModel": type("BaseModel", (), {})},
    }
    for name, values in contents.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "qwenvl.evaluate.adapters.lmms_eval_model", raising=False)
    return table


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    for i, colour in enumerate(("red", "blue")):
        PILImage.new("RGB", (30 + i, 20), colour).save(tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(2)]


def shape(parts: Any) -> list[Any]:
    return [part.text if isinstance(part, Text) else part.width if isinstance(part, Image) else part for part in parts]


def test_pictures_stand_at_their_marks_or_before_the_words(pictures: list[str]) -> None:
    assert shape(question_parts("a <image> b<image>", pictures)) == ["a ", 30, " b", 31]
    assert shape(question_parts("a <image> b", pictures)) == [30, 31, "a b"]
    assert shape(question_parts("a", pictures)) == [30, 31, "a"]
    assert shape(question_parts("a", [])) == ["a"]


def test_lmms_eval_gets_answers_in_its_order(tiny_folder: Path, pictures: list[str], harnesses: Any) -> None:
    manifest = import_module("qwenvl.evaluate.adapters.lmms_eval").manifest()
    module, name = manifest.simple_class_path.rsplit(".", 1)
    made = import_module(module)
    model = getattr(made, name)(pretrained=str(tiny_folder), device="cpu", batch_size="2")
    model.task_dict = {"t": {"val": [{"pictures": pictures[:1]}, {"pictures": pictures}, {"pictures": []}]}}

    def request(doc: int, text: str, **options: Any) -> Any:
        return types.SimpleNamespace(args=(text, options, lambda found: found["pictures"], doc, "t", "val"))

    options = {"max_new_tokens": 3, "temperature": 0, "num_beams": 1}
    requests = [request(0, "What?", **options), request(1, "Who?", max_new_tokens=5), request(2, "Why?", **options)]
    together = model.generate_until(requests)
    alone = [model.generate_until([one])[0] for one in requests]
    assert together == alone and len(together) == 3
    direct = Answerer(str(tiny_folder), "cpu").answers([question_parts("Who?", pictures)], Generation(max_new_tokens=5))
    assert direct == [together[1]]
    ranked = model.loglikelihood([types.SimpleNamespace(args=("Q", " A", lambda d: d["pictures"], 0, "t", "val"))])
    assert ranked[0][0] > 0
    with pytest.raises(ValueError, match="num_beams"):
        model.generate_until([request(0, "What?", num_beams=4)])
    with pytest.raises(ValueError, match="no such model argument: chats"):
        getattr(made, name)(pretrained=str(tiny_folder), device="cpu", chats=True)
    assert made.cut("one\n\ntwo", ("\n\n", "two", "")) == "one" and made.cut("one", ("x",)) == "one"


def test_chat_and_base_ask_in_other_forms(tiny_folder: Path) -> None:
    parts = question_parts("What? Answer:", [])
    chat, base = (Answerer(str(tiny_folder), "cpu", chat=chat) for chat in (True, False))
    assert base.loss(parts, " A") != chat.loss(parts, " A")
    shown = base.loaded.tokenizer.decode(base._prompt(parts).ids)
    assert shown == "What? Answer:" and "<|im_start|>assistant" in base.loaded.tokenizer.decode(chat._prompt(parts).ids)


def test_vlmevalkit_gets_a_model_by_its_name(tiny_folder: Path, pictures: list[str], harnesses: dict[str, Any]) -> None:
    adapter = import_module("qwenvl.evaluate.adapters.vlmevalkit")
    adapter.register("mine", str(tiny_folder), device="cpu", max_new_tokens=3)
    model = harnesses["mine"]()
    message = [
        {"type": "text", "value": "See "},
        {"type": "image", "value": pictures[0]},
        {"type": "text", "value": "?"},
    ]
    assert shape(adapter.message_parts(message)) == ["See ", 30, "?"]
    assert isinstance(model.generate_inner(message, dataset="x"), str)
    with pytest.raises(ValueError, match="'video'"):
        model.generate_inner([{"type": "video", "value": "a.mp4"}])


def test_the_entry_point_is_where_lmms_eval_looks() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["entry-points"]["lmms_eval.models"]["qwenvl"].split(":")
    assert callable(getattr(import_module(module), function))
