"""An engine made of coroutines: the queue, the limits and the ends of requests that an event loop answers.

What answers is an `Answerer`, such as vLLM. It gets as many requests as it may run, in the clients' turns; the others
wait here, where leaving costs nothing and the queue has an end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from qwenvl.serve.fair_queue import FairQueue
from qwenvl.serve.requests import End, Handle, Limits, QueueFull, Reason, Request, Token, room_for

_log = logging.getLogger(__name__)


class Answerer(Protocol):
    """What computes the tokens. All calls come from one thread, which runs the event loop."""

    async def open(self) -> None:
        """Get ready. What it raises, the engine's maker gets."""
        ...

    def answer(self, request: Request, most: int) -> AsyncGenerator[Token | End, None]:
        """At most `most` tokens, then an `End`. Closed or cancelled, it frees what the request held."""
        ...

    @property
    def broken(self) -> bool:
        """Whether it will never answer again."""
        ...

    async def shut(self) -> None:
        """Let go of everything."""
        ...


@dataclass(eq=False)
class _Job(Handle):
    """A request in the engine. `leave` is asked, from any thread, to drop it."""

    request: Request
    deliver: Callable[[Token | End], None]
    most: int
    leave: Callable[[_Job], None]
    task: asyncio.Task[End] | None = None
    timer: asyncio.TimerHandle | None = None
    reason: Reason = "cancelled"
    began: float = 0.0
    ended: bool = False

    def cancel(self) -> None:
        """As `Handle.cancel`."""
        self.leave(self)


class AsyncEngine:
    """Answers requests by an `Answerer`, in a thread of its own; see `qwenvl.serve.requests.Engine`."""

    def __init__(self, answerer: Answerer, limits: Limits, seconds: float = 600.0) -> None:
        """`seconds` bounds a request from its arrival to its end. Returns when the answerer is open.

        Raises what opening it raises.
        """
        self._answerer, self._limits, self._seconds = answerer, limits, seconds
        self._changed = threading.Condition()
        self._queue: FairQueue[_Job] = FairQueue()
        self._running: set[_Job] = set()
        self._closing = False
        self._counts = {"tokens_total": 0, "requests_total": 0, "failures_total": 0, "prompt_tokens_reused_total": 0}
        self._pace = 1.0
        """Seconds that a request takes, of late."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="qwenvl-engine", daemon=True)
        self._thread.start()
        opened.result()

    @property
    def limits(self) -> Limits:
        """As in `Engine`."""
        return self._limits

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> Handle:
        """As in `Engine`. Raises RuntimeError after `close`."""
        room = room_for(request, self._limits.context)
        job = _Job(request, deliver, max(1, min(request.options.max_new_tokens, room)), self._leave)
        with self._changed:
            if self._closing:
                raise RuntimeError("the engine is closed")
            if len(self._queue) >= self._limits.waiting:
                raise QueueFull(max(1.0, self._pace * len(self._queue) / self._limits.running))
            self._queue.add(request.client, job)
            self._counts["requests_total"] += 1
        self._tell(self._arrive, job)
        return job

    def figures(self) -> Mapping[str, float]:
        """As in `Engine`."""
        with self._changed:
            now = {"running": len(self._running), "waiting": len(self._queue), "broken": self._answerer.broken}
            return {**now, **self._counts}

    def close(self, grace: float = 0.0) -> None:
        """As in `Engine`."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not (self._queue or self._running), grace)
        self._tell(self._stop.set)
        self._thread.join()

    def _leave(self, job: _Job) -> None:
        self._tell(self._drop, job, "cancelled")

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it every request
            self._loop.call_soon_threadsafe(what, *arguments)

    # -- in the event loop -----------------------------------------------------------------------------------------

    def _run(self, opened: Future[None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(opened))

    async def _serve(self, opened: Future[None]) -> None:
        try:
            await self._answerer.open()
        except BaseException as error:  # handed to the thread that waits for it
            opened.set_exception(error)
            return
        opened.set_result(None)
        await self._stop.wait()
        with self._changed:
            queued = self._queue.remove(lambda job: True)
            tasks = [job.task for job in self._running if job.task is not None]
        for job in queued:
            self._end(job, End("cancelled"))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._answerer.shut()

    def _arrive(self, job: _Job) -> None:
        if not job.ended:
            job.timer = self._loop.call_later(self._seconds, self._drop, job, "timeout")
        self._admit()

    def _admit(self) -> None:
        with self._changed:
            while self._queue and len(self._running) < self._limits.running:
                job = self._queue.take()
                job.began = time.monotonic()
                job.task = self._loop.create_task(self._answer(job))
                # not in the coroutine: it never runs where it is cancelled before its first step
                job.task.add_done_callback(partial(self._done, job))
                self._running.add(job)

    def _drop(self, job: _Job, reason: Reason) -> None:
        if job.ended:
            return
        if job.task is not None:
            job.reason = reason
            job.task.cancel()
            return
        with self._changed:
            self._queue.remove(lambda one: one is job)
        self._end(job, End(reason))

    async def _answer(self, job: _Job) -> End:
        async with aclosing(self._answerer.answer(job.request, job.most)) as items:
            async for item in items:
                if isinstance(item, End):
                    return item
                self._counts["tokens_total"] += 1
                try:
                    job.deliver(item)
                except Exception:
                    _log.exception("a receiver of tokens failed; its request is cancelled")
                    raise asyncio.CancelledError from None
        raise RuntimeError("the answer stopped without an end")

    def _done(self, job: _Job, task: asyncio.Task[End]) -> None:
        if task.cancelled():
            end = End(job.reason)
        elif (error := task.exception()) is not None:
            # vLLM wraps what went wrong in an error that says nothing
            cause = error.__cause__ or error
            _log.error("a request failed", exc_info=cause)
            end = End("error", message=f"{type(cause).__name__}: {cause}")
        else:
            end = task.result()
        with self._changed:
            self._running.discard(job)
            self._pace += 0.1 * (time.monotonic() - job.began - self._pace)
            self._counts["prompt_tokens_reused_total"] += end.cached
            self._counts["failures_total"] += end.reason == "error"
        self._end(job, end)
        self._admit()

    def _end(self, job: _Job, end: End) -> None:
        job.ended = True
        if job.timer is not None:
            job.timer.cancel()
        try:
            job.deliver(end)
        except Exception:
            _log.exception("a receiver of an ending failed")
        with self._changed:
            self._changed.notify_all()
