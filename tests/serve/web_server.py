"""A stand-in for the API below the page: answers by a script, in the contract's form, and keeps what was asked.

The page alone is what is tested with it; the API has tests of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from qwenvl.serve.web import mount

Region = dict[str, Any]


def region(phrase: str | None, *boxes: list[float], image: int = 0, quads: Any = ()) -> Region:
    """A region as the API gives it."""
    return {"phrase": phrase, "image": image, "boxes": list(boxes), "quads": list(quads)}


def answer(*parts: str | tuple[str, Region], text: str = "") -> list[dict[str, Any]]:
    """The deltas of an answer: words, and phrases whose places become known when their markup is complete."""
    deltas: list[dict[str, Any]] = []
    regions: list[Region] = []
    for part in parts:
        if isinstance(part, str):
            deltas.append({"content": part})
            continue
        content, found = part
        regions.append(found)
        half = len(content) // 2  # tags arrive in pieces
        deltas += [{"content": content[:half]}, {"content": content[half:], "regions": list(regions)}]
    return [*deltas, {"regions": regions, "text": text, "end": "stop"}]


class StandIn:
    """`script` is what to do with the next requests, the last entry again and again: deltas of an answer, or a
    `Response`. `gate` holds a stream back before its last delta until it is set; `pause` is between deltas in seconds.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.script: list[Any] = []
        self.loading = False
        self.pause = 0.0
        self.gate = threading.Event()
        self.left = threading.Event()
        self.reset()
        self._server: uvicorn.Server | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def reset(self) -> None:
        """As new."""
        self.asked, self.loading, self.pause = [], False, 0.0
        self.script = [answer("Fine.", text="Fine.")]
        self.gate.set()
        self.left.clear()

    def start(self) -> None:
        """Serve from a thread; returns when it listens."""
        config = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self.port, log_level="error", timeout_keep_alive=1, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Away at once, with what is open."""
        assert self._server
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def _app(self) -> FastAPI:
        app = FastAPI()
        mount(app)

        @app.get("/ready")
        def ready() -> JSONResponse:
            return error(503, "loading") if self.loading else JSONResponse({"status": "ready"})

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            return {"object": "list", "data": [{"id": "nano", "object": "model"}]}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            self.asked.append(await request.json())
            if self.loading:
                return error(503, "the model is loading")
            act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(act, Response):
                return act
            return StreamingResponse(self._stream(act), media_type="text/event-stream")

        return app

    async def _stream(self, deltas: list[dict[str, Any]]) -> AsyncIterator[str]:
        try:
            for index, delta in enumerate(deltas):
                await asyncio.sleep(self.pause)
                while index == len(deltas) - 1 and not self.gate.is_set():
                    await asyncio.sleep(0.01)
                if delta.get("cut"):
                    return
                end = delta.get("end")
                shown = {key: value for key, value in delta.items() if key != "end"}
                yield _event({"choices": [{"index": 0, "delta": shown, "finish_reason": end}]})
            yield _event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}})
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left.set()
            raise


def error(status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> JSONResponse:
    """An error in the API's form."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return JSONResponse(body, status, headers)


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'model': 'nano', **chunk})}\n\n"
