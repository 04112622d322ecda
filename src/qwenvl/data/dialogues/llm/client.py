"""Asking an OpenAI-compatible endpoint: time-outs, waits, and telling what another try may mend from what it can't."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from qwenvl.data.dialogues.llm.cache import Reply
from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.data.engine import StopRun

LARGEST_REPLY = 8 << 20
"""Bytes; what an endpoint sends beyond is not read."""

LONGEST_WAIT, LONGEST_ASKED = 60.0, 300.0
"""Seconds before another try: of our own choice, and where the server names a time."""

_TRANSIENT = frozenset({408, 409, 425, 429})
_ENDS_ALL = frozenset({401, 403, 404})


class NoReply(Exception):
    """A request got no usable reply; `why` is short, for counting, the message tells more."""

    def __init__(self, why: str, detail: str, again: bool, after: float | None = None) -> None:
        super().__init__(detail or why)
        self.why, self.again, self.after = why, again, after


class Client:
    """The endpoint of some settings; use it with `async with`. Needs the package openai.

    `failed` is called with the short reason of every request that gave nothing.
    """

    def __init__(self, settings: LanguageModel, failed: Callable[[str], None]) -> None:
        import openai

        self._openai, self._settings, self._failed = openai, settings, failed
        self._key = os.environ.get(settings.key_env, "")
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            # never None: the client would take OPENAI_API_KEY then, whosever endpoint this is
            api_key=self._key or "none",
            max_retries=0,
            timeout=settings.timeout,
        )
        self._jitter = random.Random()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, request: Mapping[str, Any]) -> Reply:
        """The reply to a request (the fields of `chat.completions.create`), after as many tries as it takes.

        Raises NoReply where they gave none, StopRun where no request would do better (wrong key, no such model).
        """
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._once(request)
            except NoReply as error:
                self._failed(error.why)
                if not error.again or attempt == self._settings.retries:
                    raise
                wait = min(LONGEST_WAIT, self._settings.wait * 2**attempt) * self._jitter.uniform(0.5, 1.0)
                await asyncio.sleep(wait if error.after is None else max(wait, min(error.after, LONGEST_ASKED)))
        raise AssertionError("the last try returns or raises")

    async def _once(self, request: Mapping[str, Any]) -> Reply:
        openai = self._openai
        try:
            # the client's own time-out is for each read: a reply that trickles would never end
            async with asyncio.timeout(self._settings.timeout):
                return _reply(await self._body(request))
        except (TimeoutError, openai.APITimeoutError):
            raise NoReply("time-out", f"no whole reply in {self._settings.timeout:g} s", again=True) from None
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except NoReply:
            raise
        except Exception as error:  # a cut stream is an error of the HTTP library below, whichever that is
            if not isinstance(error, openai.OpenAIError) and type(error).__module__.split(".")[0] not in _HTTP:
                raise
            raise NoReply("connection lost", self._plain(f"{type(error).__name__}: {error}"), again=True) from None

    async def _body(self, request: Mapping[str, Any]) -> bytes:
        held = bytearray()
        asking = self._client.chat.completions.with_streaming_response.create(**request)
        async with asking as response:
            async for block in response.iter_bytes():
                held += block
                if len(held) > LARGEST_REPLY:
                    raise NoReply("reply too large", f"more than {LARGEST_REPLY:,} bytes", again=False)
        return bytes(held)

    def _status(self, error: Any) -> Exception:
        code, detail = int(error.status_code), self._plain(str(error))
        why = f"HTTP {code}"
        quota = "insufficient_quota" in detail
        if code in _ENDS_ALL or quota:
            hint = {401: f"is the key in ${self._settings.key_env} right?", 404: "are base_url and model right?"}
            told = hint.get(code, "the endpoint will take no more requests")
            return StopRun(f"{self._settings.base_url}: {why}: {detail}; {told} What is done is kept.")
        return NoReply(why, detail, again=code in _TRANSIENT or code >= 500, after=_after(error.response.headers))

    def _plain(self, text: str) -> str:
        """An error's words, shortened and without the key, which some endpoints send back."""
        text = text.replace(self._key, "***") if self._key else text
        return " ".join(text.split())[:300]


_HTTP = ("httpx", "httpx2", "httpcore", "httpcore2", "anyio", "h11", "ssl")


def _after(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After; a date there is passed over."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _reply(body: bytes) -> Reply:
    """The reply in a response's body. Raises NoReply, to be tried again, for anything else."""
    try:
        found = json.loads(body)
        choice = found["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
        usage = found.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        shown = body[:80].decode("utf-8", "replace")
        raise NoReply("broken reply", f"{type(error).__name__} in {shown!r}", again=True) from None
    if not isinstance(text, str):
        raise NoReply("empty reply", f"content is {text!r}"[:200], again=True)
    taken = [count if isinstance(count, int) and 0 <= count < 1 << 40 else None for count in counts]
    return Reply(text, str(finish), *taken)
