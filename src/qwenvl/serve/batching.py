"""Continuous batching: requests join and leave the running batch between two tokens (docs/serving-engine.md).

One thread runs everything. In each turn it takes waiting requests in, reads a bounded piece of their prompts (or runs
the ViT on a picture), and computes one token for every answer at work: a long prompt delays the others by a piece.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.serve.batch import Batch, Content, Job
from qwenvl.serve.engine import ends_of
from qwenvl.serve.fair_queue import FairQueue
from qwenvl.serve.kv import RowCache
from qwenvl.serve.picture_cache import PictureCache
from qwenvl.serve.requests import End, Handle, Limits, QueueFull, Reason, Request, Token, room_for
from qwenvl.serve.sampling import Picker
from qwenvl.text.render import Example
from qwenvl.text.tokenizer import QwenTokenizer

PICTURE_BYTES = 256 << 20
"""What embeddings of pictures may take by default."""

_log = logging.getLogger(__name__)


class BatchingEngine:
    """Answers many requests at once, each as `generate` would answer it alone; see `qwenvl.serve.requests.Engine`."""

    def __init__(
        self,
        model: QwenVLForConditionalGeneration,
        tokenizer: QwenTokenizer,
        running: int = 16,
        waiting: int = 64,
        kept: int | None = None,
        context: int | None = None,
        prefill: int = 512,
        pictures: int = PICTURE_BYTES,
        seconds: float = 600.0,
    ) -> None:
        """`running` requests are answered at once, `waiting` more are queued. `kept` rows more (default: as many as
        `running`) remember ended conversations. `context` bounds a prompt and its answer in tokens, `prefill` the
        tokens of prompts that are read between two tokens of the answers, `pictures` the bytes of their embeddings,
        `seconds` a request from its start to its end.

        Raises ValueError for a model that can't be served so.
        """
        if min(running, waiting, prefill) < 1 or (kept or 0) < 0:
            raise ValueError(f"running={running}, waiting={waiting} and prefill={prefill} must be 1 at least")
        how = str(model.config.text_config._attn_implementation)
        if "flash" in how or how == "flex_attention":
            raise ValueError(f'attention {how!r} takes no rows of different lengths: load the model with "sdpa"')
        decoder = model.config.text_config
        self._context = min(context or decoder.seq_length, decoder.seq_length)
        rows = running + (running if kept is None else kept)
        dtype = model.get_input_embeddings().weight.dtype
        memory = rows * RowCache.bytes_per_row(decoder, self._context, dtype) + pictures
        self._limits = Limits(self._context, running, waiting, memory)
        self._tokenizer, self._device = tokenizer, model.device
        self._prefill, self._seconds = prefill, seconds
        self._pictures = PictureCache(pictures)
        model.eval()
        self._batch = Batch(model, rows, self._context, dtype)
        self._queue: FairQueue[Job] = FairQueue()
        self._wake = threading.Condition()
        self._closing = self._hurry = False
        self._counts = {"tokens_total": 0, "steps_total": 0, "requests_total": 0, "failures_total": 0}
        self._pace = 1.0
        """Seconds that a request takes, of late."""
        self._thread = threading.Thread(target=self._run, name="qwenvl-engine", daemon=True)
        self._thread.start()

    @property
    def limits(self) -> Limits:
        """As in `Engine`."""
        return self._limits

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> Handle:
        """As in `Engine`. Raises RuntimeError after `close`."""
        room = room_for(request, self._context)
        stop = ends_of(request.options, self._tokenizer, request.example)
        job = Job(
            request,
            deliver,
            frozenset(stop),
            Picker(request, stop, self._device),
            most=max(1, min(request.options.max_new_tokens, room)),
            deadline=time.monotonic() + self._seconds,
            content=_content(request.example),
            ids=list(request.example.ids),
            wake=self._notify,
        )
        with self._wake:
            if self._closing:
                raise RuntimeError("the engine is closed")
            if len(self._queue) >= self._limits.waiting:
                raise QueueFull(max(1.0, self._pace * len(self._queue) / self._limits.running))
            self._queue.add(request.client, job)
            self._counts["requests_total"] += 1
            self._wake.notify()
        return job

    def figures(self) -> Mapping[str, float]:
        """As in `Engine`."""
        with self._wake:
            waiting = len(self._queue)
        return {
            "running": self._batch.active,
            "waiting": waiting,
            "batch_size": self._batch.decoding,
            "prompt_tokens_reused_total": self._batch.reused,
            "image_cache_hits_total": self._pictures.hits,
            "image_cache_misses_total": self._pictures.misses,
            "image_cache_bytes": self._pictures.size,
            **self._counts,
        }

    def close(self, grace: float = 0.0) -> None:
        """As in `Engine`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(grace)
        with self._wake:
            self._hurry = True
            self._wake.notify()
        self._thread.join()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                with self._wake:
                    while not (self._queue or self._batch.active or self._closing):
                        self._wake.wait()
                    if self._closing and not (self._queue or self._batch.active):
                        return
                self._turn()

    def _turn(self) -> None:
        self._drop()
        with self._wake:
            joining: list[Job] = []
            while self._queue and self._batch.active + len(joining) < self._limits.running:
                joining.append(self._queue.take())
        for job in joining:
            job.began = time.monotonic()
            self._batch.join(job)
        if self._batch.active > self._batch.decoding:
            self._guarded(self._read, self._batch.jobs[self._batch.decoding :])
        if self._batch.decoding:
            self._guarded(self._answer, self._batch.jobs[: self._batch.decoding])

    def _drop(self) -> None:
        """End what nobody waits for any more, or has waited for too long."""
        now = time.monotonic()

        def reason(job: Job) -> Reason | None:
            if job.cancelled or self._hurry:
                return "cancelled"
            return "timeout" if now > job.deadline else None

        with self._wake:
            queued = self._queue.remove(lambda job: reason(job) is not None)
        for job in [*queued, *self._batch.jobs]:
            if (why := reason(job)) is not None:
                self._end(job, why)

    def _read(self) -> None:
        """A piece of the prompts: pictures first, then tokens, as far as the budget goes."""
        budget = self._prefill - self._look()
        jobs = self._batch.jobs[self._batch.decoding :]
        ready = next((number for number, job in enumerate(jobs) if job.unseen), len(jobs))
        if ready:
            for job, logits in self._batch.prefill(min(ready, self._prefill), max(budget, 1)):
                self._choose([job], logits[None])

    def _look(self) -> int:
        """Run the ViT once, on the pictures that come first in the prompts; how many slots they take."""
        pixels: dict[str, Tensor] = {}
        slots = int(self._batch.model.config.num_queries)
        jobs = self._batch.jobs[self._batch.decoding :]
        for job in jobs:
            for image in job.unseen:
                if (held := self._pictures.get(image.key)) is not None:
                    job.features[image.key] = held
                elif image.key not in pixels and slots * len(pixels) < self._prefill:
                    try:
                        pixels[image.key] = self._batch.pixels(image)
                    except Exception as error:  # of this picture: the others are read
                        self._fail(job, error)
                        break
        if pixels:
            for key, features in zip(pixels, self._batch.encode(list(pixels.values())), strict=True):
                self._pictures.put(key, features)
                for job in jobs:
                    if not job.ended and any(image.key == key for image in job.unseen):
                        job.features[key] = features
        return slots * len(pixels)

    def _answer(self) -> None:
        """One token for every answer at work."""
        jobs, logits = self._batch.decode()
        self._counts["steps_total"] += 1
        self._choose(jobs, logits)

    def _choose(self, jobs: list[Job], logits: Tensor) -> None:
        best, likeliest = logits.max(-1)
        plain = likeliest.tolist()
        sound = best.isfinite().tolist()
        for number, job in enumerate(jobs):
            if not sound[number]:
                self._fail(job, FloatingPointError("the model gave no finite numbers"))
                continue
            try:
                token = Token(plain[number]) if job.picker.plain else job.picker.choose(logits[number], job.ids)
            except Exception as error:  # of this request's own form or settings
                self._fail(job, error)
                continue
            self._next(job, token)

    def _next(self, job: Job, token: Token) -> None:
        if token.id in job.stop:
            self._end(job, "stop")
            return
        job.ids.append(token.id)
        self._counts["tokens_total"] += 1
        try:
            job.deliver(token)
        except Exception:
            _log.exception("a receiver of tokens failed; its request is cancelled")
            job.cancelled = True
        if len(job.ids) - job.prompt >= job.most:
            self._end(job, "length")

    def _guarded(self, work: Callable[[], None], jobs: Iterable[Job]) -> None:
        """A fault of the model ends those at work, and the engine goes on."""
        jobs = list(jobs)
        try:
            work()
        except Exception as error:
            _log.exception("a pass of the model failed")
            for job in jobs:
                self._fail(job, error)
            self._batch.forget()

    def _fail(self, job: Job, error: Exception) -> None:
        self._counts["failures_total"] += 1
        self._end(job, "error", f"{type(error).__name__}: {error}")

    def _end(self, job: Job, reason: Reason, message: str = "") -> None:
        if job.ended:
            return
        job.ended = True
        if job.row >= 0:
            self._batch.leave(job)
            job.row = -1
            self._pace += 0.1 * (time.monotonic() - job.began - self._pace)
        try:
            job.deliver(End(reason, job.cached, message))
        except Exception:
            _log.exception("a receiver of an ending failed")


def _content(example: Example) -> Content:
    found: list[int | str] = list(example.ids)
    for slot in example.slots:
        found[slot.start : slot.start + slot.length] = [slot.image.key] * slot.length
    return tuple(found)
