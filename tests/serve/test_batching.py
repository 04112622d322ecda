"""The batching engine: tokens as alone, whatever shares the batch; joining, leaving, reuse, limits, faults."""

from __future__ import annotations

import dataclasses
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from qwenvl.data.images import load_image
from qwenvl.sample import Image, Sample, Text
from qwenvl.serve import Generation, Loaded, generate, load
from qwenvl.serve.batching import BatchingEngine
from qwenvl.serve.fair_queue import FairQueue
from qwenvl.serve.kv import RowCache
from qwenvl.serve.picture_cache import PictureCache
from qwenvl.serve.requests import End, Handle, QueueFull, Request, Token
from qwenvl.text.render import Example, render


class Asked:
    """A submitted request; `wait` gives its tokens and its end."""

    def __init__(self, engine: BatchingEngine, request: Request) -> None:
        self.events: queue.Queue[Token | End] = queue.Queue()
        self.tokens: list[Token] = []
        self.handle: Handle = engine.submit(request, self.events.put)

    def wait(self) -> tuple[list[int], End]:
        while True:
            event = self.events.get(timeout=30)
            if isinstance(event, End):
                with pytest.raises(queue.Empty):
                    self.events.get_nowait()
                return [token.id for token in self.tokens], event
            self.tokens.append(event)


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)


@pytest.fixture
def start(loaded: Loaded) -> Iterator[Callable[..., BatchingEngine]]:
    made: list[BatchingEngine] = []

    def one(**options: Any) -> BatchingEngine:
        made.append(BatchingEngine(loaded.model, loaded.tokenizer, **options))
        return made[-1]

    yield one
    for engine in made:
        engine.close()


def picture(colour: str) -> Image:
    out = io.BytesIO()
    PILImage.new("RGB", (24, 16), colour).save(out, "PNG")
    return load_image(out.getvalue())


def prompt(loaded: Loaded, *parts: Text | Image, task: str = "vqa") -> Example:
    return render(Sample(parts, task), loaded.tokenizer, loaded.model.config.num_queries)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def examples(loaded: Loaded) -> list[Example]:
    red, blue = picture("red"), picture("blue")
    words = ("What color is the digit?", "有几个物体？", "Where is the red star? a large blue circle and a sign", "yes")
    found = [prompt(loaded, red, Text(text)) for text in words]
    found += [prompt(loaded, Text(text)) for text in words]
    found += [prompt(loaded, blue, Text(text), red, task="dialogue") for text in words]
    return found


def alone(loaded: Loaded, example: Example, options: Generation) -> list[int]:
    return generate(loaded.model, loaded.tokenizer, [example], options)[0]


@pytest.mark.parametrize(
    "engine_options", [{}, {"running": 3, "kept": 0, "prefill": 5}, {"running": 1, "kept": 0}, {"pictures": 0}]
)
def test_tokens_are_those_of_the_request_alone(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine], engine_options: dict[str, int]
) -> None:
    engine = start(**engine_options)
    kinds = [
        Generation(max_new_tokens=24),
        Generation(max_new_tokens=9, repetition_penalty=1.3),
        Generation(max_new_tokens=12, min_new_tokens=6),
        Generation(max_new_tokens=16, temperature=0.9, top_p=0.8, seed=5),
    ]
    requests = [Request(example, kinds[number % 4]) for number, example in enumerate(examples * 2)]
    asked = [Asked(engine, request) for request in requests]
    answers = set()
    for one, request in zip(asked, requests, strict=True):
        ids, end = one.wait()
        assert ids == alone(loaded, request.example, request.options)
        assert end.reason in ("stop", "length") and (end.reason == "stop") == (
            len(ids) < request.options.max_new_tokens
        )
        answers.add(tuple(ids))
    assert len(answers) > 8, "the tiny model says the same to everything: a weak test"


def test_a_conversation_goes_on_from_what_is_kept(
    loaded: Loaded, start: Callable[..., BatchingEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(running=2)
    red, options = picture("red"), Generation(max_new_tokens=6)
    first = prompt(loaded, red, Text("Where is the red star?"))
    ids, end = Asked(engine, Request(first, options)).wait()
    assert end.cached == 0
    ran: list[int] = []
    tower = loaded.model.model.vision_tower
    handle = tower.register_forward_hook(lambda *_: ran.append(1))
    again = prompt(loaded, red, Text("Where is the red star?"), Text(" yes"))
    ids, end = Asked(engine, Request(again, options)).wait()
    handle.remove()
    assert not ran, "the ViT ran again for a picture that was seen"
    assert end.cached >= loaded.model.config.num_queries + 2
    assert ids == alone(loaded, again, options)
    # the same words about another picture share nothing behind its <img>
    other = prompt(loaded, picture("blue"), Text("Where is the red star?"))
    ids, end = Asked(engine, Request(other, options)).wait()
    assert end.cached <= 1 and ids == alone(loaded, other, options)
    assert engine.figures()["image_cache_misses_total"] == 2


def test_a_busy_rows_beginning_is_copied(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine]
) -> None:
    engine = start(running=4, kept=0)
    options = Generation(max_new_tokens=200, min_new_tokens=200)
    asked = [Asked(engine, Request(examples[0], options))]
    while not engine.figures()["batch_size"]:
        time.sleep(0.001)
    asked += [Asked(engine, Request(examples[0], options)) for _ in range(3)]
    ends = [one.wait() for one in asked]
    assert all(ids == alone(loaded, examples[0], options) for ids, _ in ends)
    assert [end.cached for _, end in ends] == [0, *[len(examples[0].ids) - 1] * 3]


def test_a_cancelled_request_gives_its_place_up(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine]
) -> None:
    engine = start(running=1)
    long = Asked(engine, Request(examples[0], Generation(max_new_tokens=400, min_new_tokens=400)))
    waiting = Asked(engine, Request(examples[1], Generation(max_new_tokens=4)))
    dropped = Asked(engine, Request(examples[2], Generation(max_new_tokens=4)))
    dropped.handle.cancel()
    assert dropped.wait() == ([], End("cancelled"))
    long.handle.cancel()
    assert long.wait()[1].reason == "cancelled"
    assert waiting.wait()[0] == alone(loaded, examples[1], Generation(max_new_tokens=4))
    long.handle.cancel()  # has ended: nothing happens
    figures = engine.figures()
    assert figures["running"] == figures["waiting"] == 0


def test_the_queue_is_bounded_and_time_too(examples: list[Example], start: Callable[..., BatchingEngine]) -> None:
    engine = start(running=1, waiting=1)
    options = Generation(max_new_tokens=400, min_new_tokens=400)
    first = Asked(engine, Request(examples[0], options))
    while engine.figures()["running"] == 0:
        time.sleep(0.001)
    second = Asked(engine, Request(examples[0], options))
    with pytest.raises(QueueFull) as full:
        Asked(engine, Request(examples[0], options))
    assert full.value.retry_after >= 1
    first.handle.cancel(), second.handle.cancel()
    late = start(running=1, seconds=0.0)
    assert Asked(late, Request(examples[0], options)).wait() == ([], End("timeout"))


def test_a_prompt_that_leaves_no_room_is_refused(loaded: Loaded, start: Callable[..., BatchingEngine]) -> None:
    engine = start(context=40)
    long = prompt(loaded, Text("a b c d e f " * 20))
    with pytest.raises(ValueError, match=f"{len(long.ids)} tokens, and this model has room for 39"):
        Asked(engine, Request(long, Generation()))
    fits = prompt(loaded, Text("a b c"))
    ids, end = Asked(engine, Request(fits, Generation(max_new_tokens=1000, min_new_tokens=1000))).wait()
    assert end.reason == "length" and len(ids) == 40 - len(fits.ids)


def test_a_fault_ends_one_request_or_those_at_work_and_the_engine_goes_on(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        def allowed(self) -> np.ndarray:
            return np.zeros(loaded.model.config.text_config.vocab_size, bool)

        def accept(self, token: int) -> None:
            raise AssertionError

    engine = start()
    options = Generation(max_new_tokens=12)
    bad = Asked(engine, Request(examples[0], options, constraint=Nothing()))
    broken = Image(b"no picture", 3, 3)
    blind = Asked(engine, Request(prompt(loaded, broken, Text("yes")), options))
    good = Asked(engine, Request(examples[1], options))
    _, end = bad.wait()
    assert end.reason == "error" and "form asked for" in end.message
    assert blind.wait()[1].reason == "error"
    assert good.wait()[0] == alone(loaded, examples[1], options)
    head = loaded.model.lm_head
    fails = iter([True])

    def once(*args: Any) -> None:
        if next(fails, False):
            raise RuntimeError("out of memory")

    handle = head.register_forward_pre_hook(once)
    ids, end = Asked(engine, Request(examples[2], options)).wait()
    assert (ids, end.reason) == ([], "error") and "out of memory" in end.message
    assert Asked(engine, Request(examples[2], options)).wait()[0] == alone(loaded, examples[2], options)
    handle.remove()


def test_a_number_that_is_none_ends_its_own_request_alone(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine]
) -> None:
    engine = start()
    options = Generation(max_new_tokens=30, min_new_tokens=30)

    def spoil(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(0, torch.tensor([1]), torch.nan) if logits.shape[0] == 2 else logits

    handle = loaded.model.lm_head.register_forward_hook(spoil)
    both = [Asked(engine, Request(example, options)) for example in examples[:2]]
    reasons = sorted(one.wait()[1].reason for one in both)
    handle.remove()
    assert reasons == ["error", "length"]


def test_log_probabilities_and_a_form(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine]
) -> None:
    class Alternating:
        """Even ids, then odd ones, in turn."""

        def __init__(self) -> None:
            self.seen: list[int] = []

        def allowed(self) -> np.ndarray:
            ids = np.arange(loaded.model.config.text_config.vocab_size)
            return ids % 2 == len(self.seen) % 2

        def accept(self, token: int) -> None:
            self.seen.append(token)

    engine = start()
    form = Alternating()
    asked = Asked(engine, Request(examples[0], Generation(max_new_tokens=8), logprobs=3, constraint=form))
    ids, _ = asked.wait()
    assert ids and [token % 2 for token in ids] == [number % 2 for number in range(len(ids))]
    assert form.seen[: len(ids)] == ids
    for token in asked.tokens:
        assert token.logprob is not None and token.logprob <= 0 and len(token.top) == 3
        assert token.top[0][1] >= token.top[1][1] >= token.top[2][1] and token.logprob <= token.top[0][1] + 1e-6


def test_closing_lets_those_at_work_finish(examples: list[Example], loaded: Loaded) -> None:
    options = Generation(max_new_tokens=30, min_new_tokens=30)
    engine = BatchingEngine(loaded.model, loaded.tokenizer)
    asked = [Asked(engine, Request(example, options)) for example in examples]
    engine.close(grace=30)
    assert all(one.wait()[1].reason == "length" for one in asked)
    with pytest.raises(RuntimeError, match="closed"):
        Asked(engine, Request(examples[0], options))
    engine = BatchingEngine(loaded.model, loaded.tokenizer, running=1)
    slow = dataclasses.replace(options, max_new_tokens=450, min_new_tokens=450)
    asked = [Asked(engine, Request(example, slow)) for example in examples]
    engine.close()
    assert {one.wait()[1].reason for one in asked} <= {"cancelled", "length"}


def test_a_receiver_that_fails_harms_nobody(
    loaded: Loaded, examples: list[Example], start: Callable[..., BatchingEngine]
) -> None:
    engine = start()
    failed = threading.Event()

    def fails(event: Token | End) -> None:
        failed.set()
        raise OSError("gone")

    engine.submit(Request(examples[0], Generation(max_new_tokens=400, min_new_tokens=400)), fails)
    good = Asked(engine, Request(examples[1], Generation(max_new_tokens=4)))
    assert good.wait()[0] == alone(loaded, examples[1], Generation(max_new_tokens=4)) and failed.wait(10)


def test_clients_take_turns() -> None:
    line: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.add(item[0], item)
    assert line.remove(lambda item: item == "a2") == ["a2"] and len(line) == 5
    assert [line.take() for _ in range(5)] == ["a1", "b1", "c1", "a3", "b2"]
    with pytest.raises(IndexError):
        line.take()


def test_pictures_are_kept_within_their_bytes() -> None:
    cache = PictureCache(100)
    for key in "ab":
        cache.put(key, torch.zeros(10))
    assert cache.get("a") is not None
    cache.put("c", torch.zeros(10))
    assert cache.get("b") is None and cache.get("a") is not None and cache.get("c") is not None
    cache.put("large", torch.zeros(1000))
    assert cache.get("large") is None
    assert (cache.hits, cache.misses, cache.size) == (3, 4, 80)


def test_memory_is_known_and_a_decoder_of_another_kind_refused(loaded: Loaded) -> None:
    config = loaded.model.config.text_config
    engine = BatchingEngine(loaded.model, loaded.tokenizer, running=2, kept=1, context=100, pictures=1000)
    engine.close()
    cache = engine._batch.cache
    assert engine.limits.memory == 1000 + 2 * cache.keys.numel() * 4
    assert engine.limits.memory == 1000 + 3 * RowCache.bytes_per_row(config, 100, torch.float32)
    sliding = type(config)(**{**config.to_dict(), "layer_types": ["sliding_attention", "full_attention"]})
    with pytest.raises(ValueError, match="sliding_attention"):
        RowCache.bytes_per_row(sliding, 100, torch.float32)
