"""Engines and a live server for the tests of the API."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from PIL import Image as PILImage

from qwenvl.serve.api import Served, ServeSettings, create_app
from qwenvl.serve.api_server import listen, made
from qwenvl.serve.requests import End, Limits, QueueFull, Request, Token
from qwenvl.text.tokenizer import QwenTokenizer


class ScriptedEngine:
    """Says the same words to everybody, a token at a time; keeps what it was asked.

    `gate` holds the tokens back from the second on until it is set. With `constraint`s it says the first allowed id.
    """

    def __init__(self, tokenizer: QwenTokenizer, context: int = 512, waiting: int = 4) -> None:
        self.tokenizer = tokenizer
        self.limits = Limits(context, 16, waiting, 0)
        self.says = "hello"
        self.end = End("stop", cached=3)
        self.asked: list[Request] = []
        self.cancelled = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.at_work = 0
        self.closed = False

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> _Handle:
        if self.at_work >= self.limits.waiting:
            raise QueueFull(7)
        self.asked.append(request)
        self.at_work += 1
        handle = _Handle()
        threading.Thread(target=self._work, args=(request, deliver, handle), daemon=True).start()
        return handle

    def _work(self, request: Request, deliver: Callable[[Token | End], None], handle: _Handle) -> None:
        try:
            end = self.end
            for number, token in enumerate(self._ids(request)):
                while number and not self.gate.is_set() and not handle.stop.is_set():
                    time.sleep(0.005)
                if handle.stop.is_set():
                    self.cancelled.set()
                    end = End("cancelled")
                    break
                if number == request.options.max_new_tokens:
                    end = End("length")
                    break
                top = tuple((token + i, -0.5 - i) for i in range(request.logprobs or 0))
                deliver(Token(token, None if request.logprobs is None else -0.5, top))
        finally:
            self.at_work -= 1
        deliver(end)

    def _ids(self, request: Request) -> Iterator[int]:
        if request.constraint is None:
            yield from self.tokenizer.encode_with_specials(self.says)
            return
        ends = {self.tokenizer.eos_id, self.tokenizer.im_end_id}
        while True:
            allowed = request.constraint.allowed()
            if any(allowed[end] for end in ends):
                return
            chosen = int(allowed.argmax())
            request.constraint.accept(chosen)
            yield chosen

    def figures(self) -> Mapping[str, float]:
        return {"running": float(self.at_work), "image_cache_hits_total": 2.0}

    def close(self, grace: float = 0.0) -> None:
        self.closed = True


class _Handle:
    def __init__(self) -> None:
        self.stop = threading.Event()

    def cancel(self) -> None:
        self.stop.set()


class Live:
    """A server on a port of its own."""

    def __init__(self, load: Callable[[], Served], settings: ServeSettings) -> None:
        self.app = create_app(load, settings)
        self.socket = listen("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = made(self.app, settings)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def connect(self) -> socket.socket:
        """A plain connection, for what no well-behaved client does."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@contextmanager
def live(load: Callable[[], Served], settings: ServeSettings, wait: bool = True) -> Iterator[Live]:
    """The server while it runs; with `wait`, from when its model is there."""
    found = Live(load, settings)
    found.thread.start()
    try:
        until(lambda: found.server.started and (not wait or found.app.state.server.ready))
        yield found
    finally:
        found.server.should_exit = True
        found.thread.join(10)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def uri(image: PILImage.Image | bytes) -> str:
    """A picture, or any bytes, as a "data:" URI."""
    if not isinstance(image, bytes):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        image = buffer.getvalue()
    return "data:image/png;base64," + base64.b64encode(image).decode()


def part(url: str) -> dict[str, Any]:
    """A picture's part of a message."""
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts: Any) -> list[dict[str, Any]]:
    """A conversation of one question; words stand for text parts."""
    content = [{"type": "text", "text": item} if isinstance(item, str) else item for item in parts]
    return [{"role": "user", "content": content}]


def deltas(chunks: Sequence[Any]) -> list[dict[str, Any]]:
    """What the chunks of a stream with one choice add."""
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
