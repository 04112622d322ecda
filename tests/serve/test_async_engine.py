"""The engine of coroutines, over an answerer that says what it is told to: limits, turns, leaving, times and faults."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from qwenvl.serve.async_engine import AsyncEngine
from qwenvl.serve.engine import Generation
from qwenvl.serve.requests import End, Limits, QueueFull, Request, Token
from qwenvl.text.render import Example
from tests.serve.api_server import until
from tests.serve.test_batching import Asked


class Scripted:
    """Says 7, 8, 9 …, as many tokens as may be; from the second on it waits until `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.order: list[str] = []
        self.at_work = self.most_at_work = 0
        self.fault: Exception | None = None
        self.broken = self.shut_down = False

    async def open(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def answer(self, request: Request, most: int) -> AsyncGenerator[Token | End, None]:
        self.order.append(request.client)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            for number in range(most):
                while number and not self.gate.is_set():
                    await asyncio.sleep(0.001)
                if self.fault is not None and number == 1:
                    raise RuntimeError from self.fault
                yield Token(7 + number)
            yield End("length", cached=2)
        finally:
            self.at_work -= 1

    async def shut(self) -> None:
        self.shut_down = True


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def start(scripted: Scripted) -> Iterator[Callable[..., AsyncEngine]]:
    made: list[AsyncEngine] = []

    def one(running: int = 2, waiting: int = 3, **options: Any) -> AsyncEngine:
        made.append(AsyncEngine(scripted, Limits(16, running, waiting, 0), **options))
        return made[-1]

    yield one
    for engine in made:
        engine.close()
        assert not engine._thread.is_alive()


def request(client: str = "", tokens: int = 3, length: int = 4) -> Request:
    return Request(Example([1] * length, [-100] * length, (), "vqa", "", ""), Generation(tokens), client)


def test_it_answers_in_order_and_counts(start: Callable[..., AsyncEngine], scripted: Scripted) -> None:
    scripted.gate.set()
    engine = start()
    assert Asked(engine, request()).wait() == ([7, 8, 9], End("length", 2))
    assert Asked(engine, request(tokens=100)).wait()[0] == list(range(7, 7 + 12))  # as many as the context has room for
    with pytest.raises(ValueError, match="room for 15"):
        engine.submit(request(length=16), print)
    figures = engine.figures()
    assert figures["tokens_total"] == 15 and figures["prompt_tokens_reused_total"] == 4
    assert figures["requests_total"] == 2 and figures["failures_total"] == figures["running"] == 0


def test_no_more_run_or_wait_than_it_says_and_the_clients_take_turns(
    start: Callable[..., AsyncEngine], scripted: Scripted
) -> None:
    engine = start()
    asked = [Asked(engine, request("first")) for _ in range(2)]
    until(lambda: scripted.at_work == 2)
    asked += [Asked(engine, request(client)) for client in ("busy", "busy", "other")]
    with pytest.raises(QueueFull) as full:
        engine.submit(request("late"), print)
    assert full.value.retry_after >= 1
    assert engine.figures()["running"] == 2 and engine.figures()["waiting"] == 3
    scripted.gate.set()
    assert [one.wait() for one in asked] == [([7, 8, 9], End("length", 2))] * 5
    assert scripted.order == ["first", "first", "busy", "other", "busy"] and scripted.most_at_work == 2


def test_who_leaves_gives_the_place_to_others(start: Callable[..., AsyncEngine], scripted: Scripted) -> None:
    engine = start(running=1)
    first, second, third = (Asked(engine, request(name)) for name in "abc")
    assert first.events.get(timeout=10) == Token(7)
    second.handle.cancel()
    assert second.wait() == ([], End("cancelled"))
    first.handle.cancel()
    assert first.wait() == ([], End("cancelled"))
    first.handle.cancel()  # it has ended: nothing happens
    scripted.gate.set()
    assert third.wait()[0] == [7, 8, 9]
    assert scripted.order == ["a", "c"] and scripted.at_work == 0
    assert first.events.empty()


def test_leaving_before_it_began_is_told_too(start: Callable[..., AsyncEngine], scripted: Scripted) -> None:
    engine = start(running=4, waiting=200)
    asked = [Asked(engine, request()) for _ in range(50)]
    for one in asked:
        one.handle.cancel()
    assert {one.wait()[1].reason for one in asked} <= {"cancelled"}
    assert scripted.at_work == 0


def test_what_takes_too_long_ends(start: Callable[..., AsyncEngine]) -> None:
    engine = start(running=1, seconds=0.2)
    asked = [Asked(engine, request()) for _ in range(2)]
    assert [one.wait() for one in asked] == [([7], End("timeout")), ([], End("timeout"))]


def test_faults_end_one_request(start: Callable[..., AsyncEngine], scripted: Scripted) -> None:
    engine = start()
    scripted.gate.set()
    scripted.fault = ValueError("out of paper")
    assert Asked(engine, request()).wait() == ([7], End("error", 0, "ValueError: out of paper"))
    scripted.fault = None
    assert Asked(engine, request()).wait()[0] == [7, 8, 9]
    assert engine.figures()["failures_total"] == 1

    ends: queue.Queue[End] = queue.Queue()

    def fails(item: Token | End) -> None:
        if isinstance(item, Token):
            raise KeyError("a receiver's fault")
        ends.put(item)

    engine.submit(request(), fails)
    assert ends.get(timeout=10) == End("cancelled")


def test_the_end_waits_for_what_runs_and_for_no_longer_than_it_may(
    start: Callable[..., AsyncEngine], scripted: Scripted
) -> None:
    engine = start()
    asked = Asked(engine, request())
    threading.Timer(0.1, scripted.gate.set).start()
    engine.close(grace=20)
    assert asked.wait()[1].reason == "length" and scripted.shut_down
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(request(), print)
    engine.close()

    scripted.gate.clear()
    engine = start(running=1)
    asked, queued = Asked(engine, request()), Asked(engine, request())
    engine.close(grace=0.05)
    assert asked.wait()[1] == queued.wait()[1] == End("cancelled")


def test_an_answerer_that_does_not_open_is_told_to_the_maker(scripted: Scripted) -> None:
    scripted.fault = OSError("no such device")
    with pytest.raises(OSError, match="no such device"):
        AsyncEngine(scripted, Limits(16, 1, 1, 0))
