"""A request at work: its choices go to the engine, their tokens come back to the event loop as one stream of steps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from qwenvl.serve.api_answer import Answer, Piece
from qwenvl.serve.api_errors import ApiError
from qwenvl.serve.api_metrics import Metrics
from qwenvl.serve.api_prompt import Prompt
from qwenvl.serve.engine import Generation
from qwenvl.serve.requests import Constraint, End, Engine, Handle, QueueFull, Request, Token
from qwenvl.text.tokenizer import QwenTokenizer

log = logging.getLogger("qwenvl.serve")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked: a prompt, `count` answers to it, and how."""

    prompt: Prompt
    options: Generation
    count: int = 1
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    client: str = ""
    constraint: Callable[[], Constraint] | None = None
    seconds: float = 300.0


@dataclass(slots=True)
class Step:
    """What one choice said; `reason` with its last piece."""

    index: int
    piece: Piece
    reason: str | None = None


class _Mailbox:
    """From the engine's thread to the event loop: however many things arrive, the loop is woken once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[int, Token | End]] = deque()
        self._arrived = asyncio.Event()
        self._woken = False
        self.gone = False

    def put(self, index: int, item: Token | End) -> None:
        """Called by the engine."""
        self._items.append((index, item))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended: nobody listens
                self._loop.call_soon_threadsafe(self._arrived.set)

    def leave(self) -> None:
        """The client has gone; called on the event loop."""
        self.gone = True
        self._arrived.set()

    async def take(self) -> list[tuple[int, Token | End]]:
        """All that has arrived, at least one thing. Raises ClientGone."""
        while True:
            if self.gone:
                raise ClientGone
            await self._arrived.wait()
            self._arrived.clear()
            self._woken = False
            found = [self._items.popleft() for _ in range(len(self._items))]
            if found and not self.gone:
                return found


class Run:
    """A job that the engine has taken. Iterate `steps`; `close` gives its place to others, whatever happened."""

    def __init__(self, job: Job, engine: Engine, tokenizer: QwenTokenizer, metrics: Metrics) -> None:
        """Raises ApiError where the engine does not take it: 429 when its queue is full, 400 for what does not fit."""
        self._job, self._metrics = job, metrics
        self._box = _Mailbox()
        self._begin = time.perf_counter()
        self.answers = [Answer(job.prompt, tokenizer, job.stops) for _ in range(job.count)]
        self._ended = [False] * job.count
        self._handles: list[Handle] = []
        self.cached = 0
        try:
            for index in range(job.count):
                self._handles.append(self._submit(engine, index))
        except QueueFull as error:
            self.close()
            raise ApiError(429, str(error), code="queue_full", retry_after=error.retry_after) from None
        except ValueError as error:
            self.close()
            raise ApiError(400, str(error), code="context_length_exceeded") from None
        except BaseException:
            self.close()
            raise

    def leave(self) -> None:
        """The client has gone."""
        self._box.leave()

    async def steps(self) -> AsyncIterator[Step]:
        """What the choices say, as it comes. Raises ClientGone, and ApiError for a fault or a time limit."""
        first = True
        try:
            async with asyncio.timeout(self._job.seconds):
                while not all(self._ended):
                    for index, item in await self._box.take():
                        if first and isinstance(item, Token):
                            self._metrics.first_token.observe(time.perf_counter() - self._begin)
                            first = False
                        step = self._step(index, item)
                        if step is not None:
                            yield step
        except TimeoutError:
            raise _late(self._job.seconds) from None

    def close(self) -> None:
        """Give back the places of what still runs."""
        for handle, ended in zip(self._handles, self._ended, strict=False):
            if not ended:
                handle.cancel()
        self._metrics.answered(sum(answer.tokens for answer in self.answers))

    def _submit(self, engine: Engine, index: int) -> Handle:
        job, options = self._job, self._job.options
        if options.seed is not None and index:
            options = replace(options, seed=options.seed + index)
        constraint = job.constraint() if job.constraint else None
        request = Request(job.prompt.example, options, job.client, job.logprobs, constraint)
        return engine.submit(request, lambda item: self._box.put(index, item))

    def _step(self, index: int, item: Token | End) -> Step | None:
        """What an item adds to its choice; None where that is nothing to hand on."""
        if self._ended[index]:
            return None  # it was stopped here while the engine still worked
        answer = self.answers[index]
        if isinstance(item, Token):
            piece = answer.add(item)
            if not answer.stopped:
                return Step(index, piece) if piece.text or piece.regions or piece.logprobs else None
            self._handles[index].cancel()
            self._ended[index] = True
            piece.regions = answer.regions(answer.text)
            return Step(index, piece, "stop")
        self._ended[index] = True
        self.cached = max(self.cached, item.cached)
        if item.reason == "error":
            log.error("the engine failed on a request: %s", item.message)
            raise ApiError(500, "the model failed on this request; the server's log says more", code="engine_error")
        if item.reason == "timeout":
            raise _late(self._job.seconds)
        if item.reason == "cancelled":
            raise ApiError(503, "the server is stopping", code="stopping", retry_after=5)
        return Step(index, answer.end(), item.reason)


def _late(seconds: float) -> ApiError:
    return ApiError(504, f"no whole answer within {seconds:.0f} s; ask for fewer tokens", code="timeout")


def total(answers: Sequence[Answer]) -> int:
    """The tokens of some answers."""
    return sum(answer.tokens for answer in answers)
