"""The whole way with the packaged model: what the API answers is what `Chat` and the evaluation's `generate` answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from qwenvl.data.images import encode
from qwenvl.data.synth.scenes import scene_record
from qwenvl.sample import Image
from qwenvl.serve import Chat, Generation, Loaded, load
from qwenvl.serve.engine import generate
from qwenvl.serve.requests import End, Handle, Limits, Request, Token
from qwenvl.tasks import grounding, referring
from qwenvl.text.render import render

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package)
from qwenvl.serve.api import Served, ServeSettings  # noqa: E402
from tests.serve.api_server import Live, live, part, uri, user  # noqa: E402

SCENE = scene_record(seed=3, index=3, split="test", size=192)
PICTURE = Image(encode(SCENE.images[0], "PNG"), 192, 192)
SHOWN = part(uri(PICTURE.source))  # type: ignore[arg-type]


class OneByOne:
    """The plainest engine: requests one after the other, through the function that evaluation uses."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.limits = Limits(512, 1, 100, 0)
        self.turn = threading.Lock()

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> Handle:
        def work() -> None:
            with self.turn:
                ids = generate(self.loaded.model, self.loaded.tokenizer, [request.example], request.options)[0]
            for token in ids:
                deliver(Token(token))
            deliver(End("length" if len(ids) == request.options.max_new_tokens else "stop"))

        threading.Thread(target=work, daemon=True).start()
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        """What runs is short."""

    def figures(self) -> Mapping[str, float]:
        return {}

    def close(self, grace: float = 0.0) -> None:
        """Nothing to end."""


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load("nano")


@pytest.fixture(scope="module")
def server(loaded: Loaded) -> Iterator[Live]:
    config = loaded.model.config
    served = Served("nano", loaded.tokenizer, config.num_queries, config.vision_config.image_size, OneByOne(loaded))
    with live(lambda: served, ServeSettings(page=False)) as server:
        yield server


def answered(server: Live, path: str, **body: Any) -> dict[str, Any]:
    found = httpx.post(f"{server.url}/v1/{path}", json={"max_tokens": 64, **body}, timeout=60)
    assert found.status_code == 200, found.text
    choice: dict[str, Any] = found.json()["choices"][0]
    return choice


def test_a_conversation_is_answered_as_chat_answers_it(server: Live, loaded: Loaded) -> None:
    chat = Chat(loaded.model, loaded.tokenizer, options=Generation(64))
    questions = ("框出图中的所有物体", "How many objects are there?")
    messages: list[dict[str, Any]] = []
    regions = 0
    for number, question in enumerate(questions):
        reply = chat.ask(question, [] if number else [PICTURE])
        messages += user(*([] if number else [SHOWN]), question)
        message = answered(server, "chat/completions", messages=messages)["message"]
        assert (message["content"], message["text"]) == (reply.raw, reply.text)
        found = [(region["phrase"], box) for region in message["regions"] for box in region["boxes"]]
        wanted = [
            (region.phrase, pytest.approx([box.x0, box.y0, box.x1, box.y1], abs=0.01))
            for region in reply.regions
            for box in region.boxes
        ]
        assert found == wanted
        regions += len(found)
        messages.append(message)  # the whole answer goes back as it came
    assert regions


def test_a_stream_says_the_same(server: Live) -> None:
    body = {"messages": user(SHOWN, "框出图中的所有物体"), "max_tokens": 64}
    whole = answered(server, "chat/completions", **body)
    found = httpx.post(server.url + "/v1/chat/completions", json={**body, "stream": True}, timeout=60)
    chunks = [json.loads(line[6:]) for line in found.text.splitlines() if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == whole["message"]["content"]
    assert deltas[-1]["regions"] == whole["message"]["regions"]
    assert deltas[-1]["text"] == whole["message"]["text"]


def test_task_prompts_are_those_of_training(server: Live, loaded: Loaded) -> None:
    phrase = SCENE.phrases[0].text
    wanted = (
        (grounding.prompt(PICTURE), {"task": "grounding"}),
        (referring.prompt(PICTURE, phrase), {"task": "referring", "prompt": phrase}),
    )
    for sample, body in wanted:
        example = render(sample, loaded.tokenizer, loaded.model.config.num_queries)
        ids = generate(loaded.model, loaded.tokenizer, [example], Generation(64))[0]
        choice = answered(server, "completions", images=[SHOWN["image_url"]["url"]], **body)
        assert choice["text"] == loaded.tokenizer.decode(ids)
        assert choice["regions"]
    assert choice["regions"][0]["phrase"] == phrase
