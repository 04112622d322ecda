"""vLLM as an engine: our queue before a stand-in for it, and, where vLLM is installed, the tokens of our own engine."""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image as PILImage

from qwenvl.data.images import load_image
from qwenvl.model import QwenVLConfig
from qwenvl.sample import Sample, Text, Turn
from qwenvl.serve import Generation, generate, load
from qwenvl.serve import vllm_engine as module
from qwenvl.serve.requests import End, QueueFull, Request, Token
from qwenvl.serve.vllm_engine import VllmEngine
from qwenvl.serve.vllm_inputs import Arguments, tokens_of
from qwenvl.text.chatml import dialogue_sample
from qwenvl.text.render import Example, render
from qwenvl.text.tokenizer import QwenTokenizer


class Asked:
    """A submitted request and what was delivered."""

    def __init__(self, engine: VllmEngine, request: Request) -> None:
        self.events: queue.Queue[Token | End] = queue.Queue()
        self.handle = engine.submit(request, self.events.put)

    def answer(self) -> tuple[list[int], End]:
        tokens = []
        while isinstance(event := self.events.get(timeout=120), Token):
            tokens.append(event.id)
        return tokens, event


@dataclass
class Script:
    """A stand-in for vLLM's AsyncLLM: counts up to the limit, a piece of two tokens at a time, while `go` is set."""

    go: threading.Event
    broken: bool = False
    aborted: int = 0
    closed: bool = False

    def generate(self, prompt: Any, parameters: Any, name: str) -> AsyncIterator[Any]:
        async def pieces() -> AsyncIterator[Any]:
            try:
                if self.broken:
                    raise OSError("no such device")
                for start in range(0, parameters.most, 2):
                    while not self.go.is_set():
                        await asyncio.sleep(0.002)
                    ids = list(range(start, min(start + 2, parameters.most)))
                    ended = start + 2 >= parameters.most
                    answer = SimpleNamespace(token_ids=ids, logprobs=None, finish_reason="length" if ended else None)
                    yield SimpleNamespace(outputs=[answer], num_cached_tokens=3)
            except asyncio.CancelledError:
                self.aborted += 1
                raise

        return pieces()

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script(threading.Event())
    script.go.set()
    core = ModuleType("vllm.v1.engine.async_llm")
    core.AsyncLLM = SimpleNamespace(from_engine_args=lambda _: script)  # type: ignore[attr-defined]
    top = ModuleType("vllm")
    top.AsyncEngineArgs = lambda **options: options  # type: ignore[attr-defined]
    for name, fake in {"vllm": top, "vllm.v1": top, "vllm.v1.engine": top, "vllm.v1.engine.async_llm": core}.items():
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.setattr(module, "engine_arguments", lambda *_: Arguments({}, torch.float32))
    monkeypatch.setattr(module, "engine_input", lambda example, config: example.ids)
    monkeypatch.setattr(module, "sampling", lambda request, stop, most: SimpleNamespace(most=most))
    return script


Start = Callable[..., VllmEngine]


@pytest.fixture
def start(tiny_folder: Path, script: Script) -> Iterator[Start]:
    made: list[VllmEngine] = []

    def make(**options: Any) -> VllmEngine:
        config = QwenVLConfig.from_pretrained(tiny_folder)
        made.append(VllmEngine(tiny_folder, config, QwenTokenizer.load(tiny_folder), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()
    assert script.closed or not made


@pytest.fixture
def example(tiny_folder: Path) -> Example:
    return render(Sample((Text("What is it?"),), "text"), QwenTokenizer.load(tiny_folder), 4)


def request(example: Example, new: int = 5, client: str = "") -> Request:
    return Request(example, Generation(max_new_tokens=new, stop=()), client)


def test_tokens_come_and_end(start: Start, example: Example) -> None:
    engine = start()
    assert Asked(engine, request(example)).answer() == ([0, 1, 2, 3, 4], End("length", 3))
    stopped = Request(example, Generation(max_new_tokens=9, stop=(8,)))
    assert Asked(engine, stopped).answer() == (list(range(8)), End("stop", 3))
    assert engine.figures()["tokens_total"] == 13 and engine.figures()["prompt_tokens_reused_total"] == 6
    assert engine.limits.memory > 0


def test_the_queue_is_bounded_fair_and_time_too(start: Start, script: Script, example: Example) -> None:
    engine = start(running=1, waiting=3)
    script.go.clear()
    first = Asked(engine, request(example, client="a"))
    while engine.figures()["running"] != 1:
        pass
    order: list[str] = []

    def queued(client: str) -> None:
        engine.submit(
            request(example, client=client), lambda item: order.append(client) if isinstance(item, End) else None
        )

    for client in ("a", "a", "b"):
        queued(client)
    with pytest.raises(QueueFull):
        queued("c")
    script.go.set()
    assert first.answer()[1].reason == "length"
    engine.close(grace=10)
    assert order == ["a", "b", "a"]
    with pytest.raises(RuntimeError, match="closed"):
        queued("a")
    late = start(seconds=0.05)
    script.go.clear()
    assert Asked(late, request(example)).answer()[1].reason == "timeout"


def test_who_goes_frees_the_place_waiting_or_not(start: Start, script: Script, example: Example) -> None:
    engine = start(running=1)
    script.go.clear()
    first, second, third = (Asked(engine, request(example)) for _ in range(3))
    while engine.figures()["running"] != 1:
        pass
    second.handle.cancel()
    assert second.answer() == ([], End("cancelled"))
    first.handle.cancel()
    assert first.answer()[1].reason == "cancelled" and script.aborted == 1
    script.go.set()
    assert third.answer()[1].reason == "length"
    third.handle.cancel()  # it has ended: nothing more comes
    assert third.events.empty()


def test_a_fault_ends_its_request_alone_and_closing_ends_the_rest(
    start: Start, script: Script, example: Example
) -> None:
    engine = start()
    script.broken = True
    tokens, end = Asked(engine, request(example)).answer()
    assert not tokens and end.reason == "error" and "no such device" in end.message
    script.broken = False
    assert Asked(engine, request(example)).answer()[1].reason == "length"
    script.go.clear()
    left = Asked(engine, request(example))
    engine.close()
    assert left.answer()[1].reason == "cancelled"


def test_a_prompt_without_room_is_refused(start: Start, example: Example) -> None:
    engine = start()
    with pytest.raises(ValueError, match="room for"):
        engine.submit(Request(replace(example, ids=example.ids * 2000), Generation()), print)


def test_what_could_not_be_loaded_is_told(tiny_folder: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise ValueError("no memory for the cache")

    monkeypatch.setattr(sys.modules["vllm.v1.engine.async_llm"].AsyncLLM, "from_engine_args", refuse)
    with pytest.raises(ValueError, match="no memory"):
        VllmEngine(tiny_folder, QwenVLConfig.from_pretrained(tiny_folder), QwenTokenizer.load(tiny_folder))


def test_log_probabilities_by_rank() -> None:
    found = {7: SimpleNamespace(logprob=-2.0, rank=3), 4: SimpleNamespace(logprob=-0.5, rank=1)}
    answer = SimpleNamespace(token_ids=[7], logprobs=[found])
    assert list(tokens_of(answer, 2)) == [Token(7, -2.0, ((4, -0.5),))]
    assert list(tokens_of(answer, 0)) == [Token(7, -2.0)]
    assert list(tokens_of(answer, None)) == [Token(7)]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_says_what_we_say() -> None:
    from qwenvl.data.synth.scenes import scene_record

    loaded = load("nano")
    slots = loaded.model.config.num_queries
    images = [scene_record(5, index, "test").images[0] for index in range(12)]
    asked = ("Describe the picture.", "框出图中的所有物体", "How many objects are there?", "<|im_end|><img> is text")
    samples = [
        dialogue_sample([Turn("user", (image, Text(asked[number % 4])))], reply=True)
        for number, image in enumerate(images)
    ]
    samples += [
        Sample((image, Text("Generate the caption in English with grounding: ")), "vqa") for image in images[:4]
    ]
    examples = [render(sample, loaded.tokenizer, slots) for sample in samples]
    options = Generation(max_new_tokens=48)
    expected = generate(loaded.model, loaded.tokenizer, examples, options)
    engine = VllmEngine(loaded.folder, loaded.model.config, loaded.tokenizer, enforce_eager=True)
    try:
        answers = [one.answer() for one in [Asked(engine, Request(example, options)) for example in examples]]
        assert [tokens for tokens, _ in answers] == expected
        assert {end.reason for _, end in answers} <= {"stop", "length"}
        long = dialogue_sample([Turn("user", (images[0], Text("There is a red star. " * 100)))], reply=True)
        first, again = (
            Asked(engine, Request(render(long, loaded.tokenizer, slots), options)).answer() for _ in range(2)
        )
        assert first[0] == again[0] and first[1].cached == 0 < again[1].cached
        told = Asked(engine, Request(examples[0], options, logprobs=3))
        token = told.events.get(timeout=60)
        assert isinstance(token, Token) and token.logprob == token.top[0][1] and len(token.top) == 3
        told.answer()
        broken = load_image(PILImage.new("RGB", (8, 8)))
        assert Asked(engine, Request(render(Sample((broken,), "caption"), loaded.tokenizer, slots), options)).answer()
        gone = Asked(engine, Request(examples[1], Generation(max_new_tokens=900, min_new_tokens=900)))
        gone.events.get(timeout=60)
        gone.handle.cancel()
        assert gone.answer()[1].reason == "cancelled"
        formed = Request(examples[0], Generation(200), constraint=_form(loaded.tokenizer))
        assert json.loads(loaded.tokenizer.decode(Asked(engine, formed).answer()[0])).keys() == {"objects"}
    finally:
        engine.close()


def _form(tokenizer: QwenTokenizer) -> Any:
    from qwenvl.serve.api_json import Grammars

    number = {"type": "integer", "minimum": 0, "maximum": 99}
    properties = {"objects": number}
    form = {"type": "object", "properties": properties, "required": ["objects"], "additionalProperties": False}
    return Grammars(tokenizer).json(form)
