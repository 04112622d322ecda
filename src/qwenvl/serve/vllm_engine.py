"""vLLM as the server's engine: prompts of the one renderer go in as ids and pixels, its tokens come back one by one.

vLLM runs this project's model through its transformers backend (`vllm_plugin`, docs/vllm.md). Its own tokenizer and
processor are not asked: what a user typed can become no special token on the way.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from qwenvl.model.configuration import QwenVLConfig
from qwenvl.serve.engine import ends_of
from qwenvl.serve.fair_queue import FairQueue
from qwenvl.serve.kv import RowCache
from qwenvl.serve.requests import End, Handle, Limits, QueueFull, Reason, Request, Token
from qwenvl.serve.vllm_inputs import engine_arguments, engine_input, sampling, tokens_of
from qwenvl.text.tokenizer import QwenTokenizer

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    """A request and how far it is; `reason` is why it is to end before its answer does."""

    request: Request
    deliver: Callable[[Token | End], None]
    stop: tuple[int, ...]
    most: int
    deadline: float
    drop: Callable[[_Job, Reason], None] = field(repr=False)
    task: asyncio.Task[End] | None = None
    began: float = 0.0
    reason: Reason | None = None
    timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """As in `Handle`."""
        self.drop(self, "cancelled")


class VllmEngine:
    """Answers requests through vLLM; see `qwenvl.serve.requests.Engine`. Its event loop has a thread of its own."""

    def __init__(
        self,
        folder: Path,
        config: QwenVLConfig,
        tokenizer: QwenTokenizer,
        running: int = 16,
        waiting: int = 64,
        pictures: int = 16,
        dtype: str | None = None,
        seconds: float = 600.0,
        **options: Any,
    ) -> None:
        """Load the checkpoint in `folder`, in the native form. `running`, `waiting` and `seconds` are as for
        `BatchingEngine`, `pictures` may stand in one prompt, and `options` are more of vLLM's `AsyncEngineArgs`.

        Raises ModuleNotFoundError without vLLM, and what vLLM raises where it can't load the model.
        """
        context = min(int(config.text_config.seq_length), 2048)
        arguments = engine_arguments(folder, config, context, running, pictures, dtype, options)
        row = RowCache.bytes_per_row(config.text_config, context, arguments.torch_dtype)
        memory = int(arguments.engine.setdefault("kv_cache_memory_bytes", 2 * running * row))
        self._limits = Limits(context, running, waiting, memory)
        self._config, self._tokenizer, self._seconds = config, tokenizer, seconds
        self._queue: FairQueue[_Job] = FairQueue()
        self._lock = threading.Lock()
        self._working: set[_Job] = set()
        self._numbers = itertools.count()
        self._closing = False
        self._pace = 1.0
        self._counts = {"tokens_total": 0, "requests_total": 0, "failures_total": 0, "prompt_tokens_reused_total": 0}
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(arguments.engine, started), name="qwenvl-vllm")
        self._thread.daemon = True
        self._thread.start()
        started.result()

    @property
    def limits(self) -> Limits:
        """As in `Engine`."""
        return self._limits

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> Handle:
        """As in `Engine`. Raises RuntimeError after `close`."""
        room = self._limits.context - len(request.example.ids)
        if not request.example.ids or room < 1:
            raise ValueError(
                f"the prompt takes {len(request.example.ids)} tokens, and this model has room for "
                f"{self._limits.context - 1} beside an answer: ask less or show fewer pictures"
            )
        job = _Job(
            request,
            deliver,
            ends_of(request.options, self._tokenizer, request.example),
            max(1, min(request.options.max_new_tokens, room)),
            time.monotonic() + self._seconds,
            self._drop,
        )
        with self._lock:
            if self._closing:
                raise RuntimeError("the engine is closed")
            if len(self._queue) >= self._limits.waiting:
                raise QueueFull(max(1.0, self._pace * len(self._queue) / self._limits.running))
            self._queue.add(request.client, job)
            self._counts["requests_total"] += 1
        self._loop.call_soon_threadsafe(self._enter, job)
        return job

    def figures(self) -> Mapping[str, float]:
        """As in `Engine`."""
        with self._lock:
            return {"running": len(self._working), "waiting": len(self._queue), **self._counts}

    def close(self, grace: float = 0.0) -> None:
        """As in `Engine`."""
        with self._lock:
            self._closing = True
        end = time.monotonic() + grace
        while self._busy() and time.monotonic() < end:
            time.sleep(0.02)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end_all)
            self._thread.join()

    def _busy(self) -> bool:
        with self._lock:
            return bool(self._working or self._queue)

    def _run(self, options: dict[str, Any], started: Future[None]) -> None:
        try:
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            asyncio.set_event_loop(self._loop)
            self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**options))
        except BaseException as error:  # told where the engine is made
            started.set_exception(error)
            return
        self._loop.call_soon(started.set_result, None)
        try:
            self._loop.run_forever()
        finally:
            self._llm.shutdown()
            del self._llm  # its own end needs an interpreter that is not ending
            self._loop.close()

    # -- on the event loop ---------------------------------------------------------------------------------------------

    def _enter(self, job: _Job) -> None:
        job.timer = self._loop.call_later(max(0.0, job.deadline - time.monotonic()), self._drop_here, job, "timeout")
        self._fill()

    def _fill(self) -> None:
        with self._lock:
            while self._queue and len(self._working) < self._limits.running:
                job = self._queue.take()
                self._working.add(job)
                job.began = time.monotonic()
                job.task = self._loop.create_task(self._stream(job))
                # not in the task itself: one that is cancelled before its first step runs nothing of it
                job.task.add_done_callback(partial(self._ended, job))

    def _drop(self, job: _Job, reason: Reason) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drop_here, job, reason)

    def _drop_here(self, job: _Job, reason: Reason) -> None:
        job.reason = job.reason or reason
        with self._lock:
            queued = self._queue.remove(lambda other: other is job)
        if queued:
            self._deliver_end(job, End(job.reason))
        elif job.task is not None:
            job.task.cancel()

    def _end_all(self) -> None:
        with self._lock:
            left = [*self._working, *self._queue.remove(lambda _: True)]
        for job in left:
            job.reason = job.reason or "cancelled"
            if job.task is None:
                self._deliver_end(job, End(job.reason))
            else:
                job.task.cancel()
        tasks = [job.task for job in left if job.task is not None]
        ended = self._loop.create_task(_all_done(tasks))
        ended.add_done_callback(lambda _: self._loop.stop())

    def _ended(self, job: _Job, task: asyncio.Task[End]) -> None:
        if task.cancelled():
            end = End(job.reason or "cancelled")
        elif (error := task.exception()) is not None:  # of this request: the others go on
            end = End("error", message=f"{type(error).__name__}: {error}")
        else:
            end = task.result()
        with self._lock:
            self._working.discard(job)
            self._counts["failures_total"] += end.reason == "error"
            self._pace += 0.1 * (time.monotonic() - job.began - self._pace)
        self._deliver_end(job, end)
        self._fill()

    async def _stream(self, job: _Job) -> End:
        request = job.request
        prompt = await asyncio.to_thread(engine_input, request.example, self._config)
        parameters = sampling(request, job.stop, job.most)
        reason: Reason = "length"
        cached = 0
        async for output in self._llm.generate(prompt, parameters, f"request-{next(self._numbers)}"):
            cached = output.num_cached_tokens or cached
            answer = output.outputs[0]
            for token in tokens_of(answer, request.logprobs):
                if token.id in job.stop:
                    reason = "stop"
                else:
                    job.deliver(token)
                    with self._lock:
                        self._counts["tokens_total"] += 1
            if answer.finish_reason not in (None, "stop", "length"):
                raise RuntimeError(f"vLLM ended the answer: {answer.finish_reason}")
        with self._lock:
            self._counts["prompt_tokens_reused_total"] += cached
        return End(reason, cached)

    def _deliver_end(self, job: _Job, end: End) -> None:
        if job.timer is not None:
            job.timer.cancel()
        try:
            job.deliver(end)
        except Exception:
            _log.exception("a receiver of an ending failed")


async def _all_done(tasks: list[asyncio.Task[End]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
