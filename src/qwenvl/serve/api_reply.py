"""From what runs to what is sent: one JSON body, or a stream of events, in the forms of chat and of completions."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from qwenvl.serve.api_answer import Answer, Piece, completion_logprobs
from qwenvl.serve.api_errors import ApiError
from qwenvl.serve.api_metrics import Metrics
from qwenvl.serve.api_run import ClientGone, Job, Run, Step, total
from qwenvl.serve.api_schemas import Sampling
from qwenvl.serve.api_settings import Served

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(slots=True)
class Form(ABC):
    """How answers are written."""

    id: str
    created: int
    model: str

    @abstractmethod
    def choice(self, index: int, answer: Answer, last: Piece, logprobs: Sequence[Any] | None, reason: str) -> Any:
        """A whole answer."""

    @abstractmethod
    def part(self, step: Step, answer: Answer, wanted: bool) -> Any:
        """What a step adds; `wanted` says whether log-probabilities are."""

    @abstractmethod
    def opening(self, index: int) -> Any:
        """The first thing of a choice in a stream, or None."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[str, str]:
        """`object` of a whole answer, and of a part."""

    def head(self, kind: str) -> dict[str, Any]:
        """What every body begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class ChatForm(Form):
    """Of `/v1/chat/completions`."""

    @property
    def kinds(self) -> tuple[str, str]:
        return "chat.completion", "chat.completion.chunk"

    def choice(self, index: int, answer: Answer, last: Piece, logprobs: Sequence[Any] | None, reason: str) -> Any:
        message = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
            "text": answer.plain,
            "regions": last.regions or [],
        }
        found = None if logprobs is None else {"content": logprobs, "refusal": None}
        return {"index": index, "message": message, "logprobs": found, "finish_reason": reason}

    def part(self, step: Step, answer: Answer, wanted: bool) -> Any:
        delta: dict[str, Any] = {}
        if step.piece.text or step.reason is None:
            delta["content"] = step.piece.text
        if step.piece.regions is not None:
            delta["regions"] = step.piece.regions
        if step.reason is not None:
            delta["text"] = answer.plain
        found = {"content": step.piece.logprobs, "refusal": None} if wanted else None
        return {"index": step.index, "delta": delta, "logprobs": found, "finish_reason": step.reason}

    def opening(self, index: int) -> Any:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


class CompletionForm(Form):
    """Of `/v1/completions`."""

    @property
    def kinds(self) -> tuple[str, str]:
        return "text_completion", "text_completion"

    def choice(self, index: int, answer: Answer, last: Piece, logprobs: Sequence[Any] | None, reason: str) -> Any:
        return {
            "index": index,
            "text": answer.text,
            "plain": answer.plain,
            "regions": last.regions or [],
            "logprobs": None if logprobs is None else completion_logprobs(logprobs),
            "finish_reason": reason,
        }

    def part(self, step: Step, answer: Answer, wanted: bool) -> Any:
        offset = len(answer.text) - len(step.piece.text)
        found: dict[str, Any] = {"index": step.index, "text": step.piece.text, "finish_reason": step.reason}
        found["logprobs"] = completion_logprobs(step.piece.logprobs, offset) if wanted else None
        if step.piece.regions is not None:
            found["regions"] = step.piece.regions
        if step.reason is not None:
            found["plain"] = answer.plain
        return found

    def opening(self, index: int) -> Any:
        return None


async def reply(request: Request, body: Sampling, job: Job, served: Served, metrics: Metrics, form: Form) -> Response:
    """Answer a request, whole or as a stream. Raises ApiError where that can still be told by the status."""
    run = Run(job, served.engine, served.tokenizer, metrics)
    if body.stream:
        return _Stream(run, _events(run, body, job, form), request)
    watch = asyncio.create_task(_watched(request, run))
    try:
        return await _whole(run, job, form)
    except ClientGone:
        metrics.disconnected.inc()
        return Response(status_code=499)  # nobody reads it; the number is what proxies write into their logs
    finally:
        watch.cancel()
        run.close()


async def _whole(run: Run, job: Job, form: Form) -> Response:
    choices: dict[int, Any] = {}
    logprobs: list[list[Any]] = [[] for _ in range(job.count)]
    async for step in run.steps():
        logprobs[step.index] += step.piece.logprobs
        if step.reason is not None:
            found = None if job.logprobs is None else logprobs[step.index]
            choices[step.index] = form.choice(step.index, run.answers[step.index], step.piece, found, step.reason)
    ordered = [choices[index] for index in sorted(choices)]
    return JSONResponse({**form.head(form.kinds[0]), "choices": ordered, "usage": _usage(run, job)})


async def _events(run: Run, body: Sampling, job: Job, form: Form) -> AsyncIterator[bytes]:
    """The stream. An error after its beginning is an event of its own, and `[DONE]` ends it all the same."""
    head = form.head(form.kinds[1])
    if body.with_usage:
        head["usage"] = None
    try:
        for index in range(job.count):
            if (first := form.opening(index)) is not None:
                yield _event({**head, "choices": [first]})
        async for step in run.steps():
            yield _event({**head, "choices": [form.part(step, run.answers[step.index], job.logprobs is not None)]})
        if body.with_usage:
            yield _event({**head, "choices": [], "usage": _usage(run, job)})
    except ClientGone:
        return
    except ApiError as error:
        yield _event(error.body())
    yield b"data: [DONE]\n\n"


def _usage(run: Run, job: Job) -> dict[str, Any]:
    asked, said = len(job.prompt.example.ids), total(run.answers)
    details = {"cached_tokens": run.cached, "image_tokens": job.prompt.image_tokens}
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": details,
    }


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def _watched(request: Request, run: Run) -> None:
    """Tells the run when its client goes away, also while it waits for its first token."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    run.leave()


class _Stream(StreamingResponse):
    """Events; whatever ends them, the run gives back its place."""

    def __init__(self, run: Run, events: AsyncIterator[bytes], request: Request) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_HEADERS)
        self._run, self._request = run, request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(_watched(self._request, self._run))
        try:
            with suppress(OSError):  # the client went away while something was written
                await self.stream_response(send)
        finally:
            watch.cancel()
            self._run.close()
