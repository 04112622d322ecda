"""The gate in front of every route: names, keys, sizes and times are checked here, before a body is read or parsed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from qwenvl.serve.api_errors import ApiError
from qwenvl.serve.api_metrics import Metrics
from qwenvl.serve.api_settings import ServeSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_GUARDED = ("/v1/", "/metrics")
_COUNTED = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/ready", "/metrics")


class Gate:
    """ASGI middleware. A body is read whole here, bounded in bytes and in time, and handed on as one piece."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._key = _digest(settings.key.encode()) if settings.key else None
        self._held = 0
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in _COUNTED else "other"
        begin = time.perf_counter()
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._at_work += 1
        self._metrics.at_work.inc()
        try:
            # an answer that nobody reads must not stay for ever
            async with asyncio.timeout(self._settings.request_seconds + 2 * self._settings.read_seconds):
                await self._pass(scope, receive, counted)
        except TimeoutError:
            scope["qwenvl_error"] = "timeout"
        finally:
            self._at_work -= 1
            self._metrics.at_work.dec()
            if status:
                self._metrics.requests.labels(path, str(status)).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - begin)
            else:
                self._metrics.disconnected.inc()
            if "qwenvl_error" in scope:
                self._metrics.errors.labels(scope["qwenvl_error"]).inc()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = 0
        try:
            self._check(scope)
            if scope["method"] not in ("POST", "PUT", "PATCH"):
                await self._app(scope, receive, send)
                return
            pieces: list[bytes] = []
            async with asyncio.timeout(self._settings.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    piece = message.get("body", b"")
                    held += len(piece)
                    self._held += len(piece)
                    self._check_size(held)
                    pieces.append(piece)
                    if not message.get("more_body"):
                        break
            body = b"".join(pieces)
            pieces.clear()
        except TimeoutError:
            error = ApiError(
                408, f"the body did not arrive within {self._settings.read_seconds:.0f} s", code="slow_body"
            )
            await self._refuse(error, scope, receive, send)
        except ApiError as error:
            await self._refuse(error, scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._held -= held

    def _check(self, scope: Scope) -> None:
        """What the head of a request tells."""
        headers = dict(scope["headers"])
        if self._settings.hosts:
            name = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].lower()
            if name not in self._settings.hosts:
                raise ApiError(400, "this server does not answer to that Host", code="wrong_host")
        path = scope["path"]
        if self._at_work > self._settings.max_requests:
            raise ApiError(429, "too many requests at once", code="too_many_requests", retry_after=1)
        if self._key is not None and path.startswith(_GUARDED) and scope["method"] != "OPTIONS":
            self._check_key(headers.get(b"authorization", b""))
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            self._check_size(int(length))
        if scope["method"] == "POST" and path.startswith("/v1/"):
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json":
                raise ApiError(415, "expected Content-Type: application/json", code="unsupported_media_type")

    def _check_key(self, given: bytes) -> None:
        scheme, _, key = given.partition(b" ")
        # digests have one length: how long the comparison takes says nothing about the key
        right = hmac.compare_digest(_digest(key.strip()), self._key or b"")
        if scheme.lower() != b"bearer" or not right:
            what = "no API key was given" if not given else "the API key is wrong"
            raise ApiError(401, f'{what}; send "Authorization: Bearer KEY"', code="invalid_api_key")

    def _check_size(self, size: int) -> None:
        most = self._settings.max_body
        if size > most:
            raise ApiError(413, f"the body is larger than {most:,} bytes", code="body_too_large")
        if self._held > self._settings.max_bodies:
            raise ApiError(429, "too many large requests at once", code="too_many_requests", retry_after=1)

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an error; the connection is closed, since the rest of the body was not read."""
        scope["qwenvl_error"] = error.kind
        await error.response({"Connection": "close"})(scope, receive, send)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` with a body that was read already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
