"""A stand-in for an OpenAI-compatible endpoint, over real HTTP, that misbehaves as told."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {"turns": [{"question": "What is this?", "answer": "It is the thing that the picture shows."}]}


class Endpoint(ThreadingHTTPServer):
    """`script` gives what becomes of each request by its number: a status, a word for a misdeed, or an answer."""

    daemon_threads = True

    def __init__(self, script: Callable[[int, dict[str, Any]], Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.lock = script, threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def endpoint(script: Callable[[int, dict[str, Any]], Any]) -> Iterator[Endpoint]:
    server = Endpoint(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer_with_box(request: dict[str, Any]) -> dict[str, Any]:
    """An answer that uses the first box of the notes."""
    notes = request["messages"][1]["content"]
    place = re.search(r"- (.*?): (<box>.*?</box>)", notes)
    assert place is not None
    answer = f"The <ref>{place[1]}</ref>{place[2]} is what you can see there."
    return {"turns": [{"question": "What is in the picture?", "answer": answer}]}


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(request)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        what = self.server.script(number, request)
        if isinstance(what, int):
            key = self.headers.get("authorization", "")
            self._send(what, {"error": {"message": f"no, not with {key}", "code": what}})
        elif what == "slow":
            time.sleep(1.0)
        elif what == "trickle":
            self._begin(200, 1 << 20)
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
        elif what == "cut":
            body = self._body(GOOD)
            self._begin(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif what == "hang up":
            self.close_connection = True
        elif what == "no json":
            self._raw(200, b"<html>gateway</html>")
        elif what == "wrong json":
            self._raw(200, b'{"choices": []}')
        elif what == "huge":
            self._raw(200, b" " * ((8 << 20) + 10))
        else:
            self._raw(200, self._body(what))

    def _body(self, what: Any) -> bytes:
        text = what if isinstance(what, str) else json.dumps(what, ensure_ascii=False)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self._begin(status, len(body), {"retry-after": "0"} if status == 429 else {})
        self.wfile.write(body)

    def _raw(self, status: int, body: bytes) -> None:
        self._begin(status, len(body))
        with suppress(OSError):  # the client has seen enough
            self.wfile.write(body)

    def _begin(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
