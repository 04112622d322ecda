"""The HTTP API: OpenAI's chat completions and completions with pictures, and what an operator asks.

The model loads in the background: `/health` answers at once, `/ready` and the API once it is there. What a client may
ask stands in `api_schemas`, what comes back in `api_reply_schemas`, how a question becomes a prompt in `api_prompt`,
what runs in `api_run`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response

from qwenvl import __version__
from qwenvl.serve import api_reply_schemas as answered
from qwenvl.serve import api_schemas as asked
from qwenvl.serve.api_errors import ApiError, add_handlers
from qwenvl.serve.api_gate import Gate
from qwenvl.serve.api_json import Grammars, SchemaError
from qwenvl.serve.api_metrics import Metrics
from qwenvl.serve.api_pictures import Pictures
from qwenvl.serve.api_prompt import Prompt, Prompts
from qwenvl.serve.api_reply import ChatForm, CompletionForm, Form, reply
from qwenvl.serve.api_run import Job
from qwenvl.serve.api_settings import Served, ServeSettings
from qwenvl.serve.engine import Generation
from qwenvl.serve.requests import Constraint

__all__ = ["ServeSettings", "Served", "create_app"]

log = logging.getLogger("qwenvl.serve")

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": answered.ErrorBody, "description": text}
    for status, text in {
        400: "A field that is wrong, missing or not supported.",
        401: "No key, or a wrong one.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "Too large: the body, a picture, the number of pictures.",
        415: "Not application/json.",
        422: "A picture that is none.",
        429: "The queue is full; Retry-After says when to come again.",
        500: "A fault of the server.",
        503: "The model is loading, or the server is stopping.",
        504: "Not answered in time.",
    }.items()
}
_STREAMED = {"text/event-stream": {"schema": {"type": "string", "description": "with stream: true"}}}


@dataclass(slots=True)
class _Loaded:
    """What is there once the model is."""

    served: Served
    prompts: Prompts
    pictures: Pictures
    grammars: Grammars


class Server:
    """What the routes share: the model once it is there, and how a request becomes a job."""

    def __init__(self, load: Callable[[], Served], settings: ServeSettings) -> None:
        self.settings = settings
        self.metrics = Metrics(lambda: self._loaded.served.engine.figures() if self._loaded else {})
        self.failed: BaseException | None = None
        self.created = int(time.time())
        self._load = load
        self._loaded: _Loaded | None = None
        self._stopping = False

    def start(self) -> None:
        """Load the model, in a thread, where it is not there."""
        if not self.ready:
            threading.Thread(target=self.load, name="qwenvl-load", daemon=True).start()

    def load(self) -> None:
        """Load the model. What goes wrong is kept in `failed`."""
        try:
            served = self._load()
        except Exception as error:  # whatever it is: the server says that it is not ready, the log says why
            log.error("the model could not be loaded: %s", error)
            self.failed = error
            return
        pictures = Pictures(self.settings, served.image_size)
        prompts = Prompts(served, self.settings, pictures)
        self._loaded = _Loaded(served, prompts, pictures, Grammars(served.tokenizer, served.vocabulary))
        if self._stopping:
            self.stop()

    def stop(self) -> None:
        """Let go of the model; what still runs is given no more time, the server has waited for it already."""
        self._stopping = True
        if self._loaded is not None:
            self._loaded.served.engine.close()
            self._loaded.pictures.close()

    @property
    def ready(self) -> bool:
        """Whether the model is there."""
        return self._loaded is not None

    @property
    def loaded(self) -> _Loaded:
        """The model. Raises ApiError while it is not there."""
        if self._loaded is None:
            if self.failed is not None:
                raise ApiError(503, "the model could not be loaded; the server's log says why", code="failed")
            raise ApiError(503, "the model is loading", code="loading", retry_after=2)
        return self._loaded

    def named(self, model: str | None) -> _Loaded:
        """The model, where it is the one that is asked for."""
        loaded = self.loaded
        if model is not None and model != loaded.served.name:
            message = f"there is no model {model!r} here; there is {loaded.served.name!r}"
            raise ApiError(404, message, "model", "model_not_found")
        return loaded

    async def job(
        self, request: Request, body: asked.Sampling, prompt: Prompt, limit: int | None, logprobs: int | None
    ) -> Job:
        """What the engine is to do. Raises ApiError for what goes beyond the settings."""
        loaded, settings = self.loaded, self.settings
        count = body.n or 1
        if count > settings.max_choices:
            raise ApiError(400, f"n: at most {settings.max_choices} here, not {count}", "n", "invalid_value")
        if limit is not None and limit > settings.max_tokens:
            message = f"max_tokens: at most {settings.max_tokens} here, not {limit}"
            raise ApiError(400, message, "max_tokens", "invalid_value")
        room = loaded.served.engine.limits.context - len(prompt.example.ids)
        options = Generation(
            max_new_tokens=min(limit or settings.default_tokens, room),
            temperature=body.temperature or 0.0,
            top_p=1.0 if body.top_p is None else body.top_p,
            repetition_penalty=body.repetition_penalty or 1.0,
            seed=body.seed,
        )
        constraint = await self._constraint(body.response_format)
        host = request.client.host if request.client else ""
        self.metrics.asked(len(prompt.example.ids), len(prompt.example.slots))
        client = f"{host}/{body.user}" if body.user else host
        return Job(prompt, options, count, body.stops, logprobs, client, constraint, settings.request_seconds)

    async def _constraint(self, wanted: asked.Format | None) -> Callable[[], Constraint] | None:
        if wanted is None or isinstance(wanted, asked.TextFormat):
            return None
        schema: Mapping[str, Any] | None = None
        if isinstance(wanted, asked.JsonSchemaFormat):
            schema = wanted.json_schema.schema_
            if len(str(schema)) > self.settings.max_schema:
                message = f"response_format: the schema is longer than {self.settings.max_schema:,} characters"
                raise ApiError(413, message, "response_format", "schema_too_large")
        grammars = self.loaded.grammars
        try:
            await asyncio.to_thread(grammars.json, schema)  # a bad schema is told before anything runs
        except SchemaError as error:
            message = f"response_format: the schema can not be followed: {error}"
            raise ApiError(400, message, "response_format", "invalid_schema") from None
        except ModuleNotFoundError:
            message = 'response_format: this server has no llguidance; pip install "qwenvl[serve]"'
            raise ApiError(400, message, "response_format", "unsupported_field") from None
        return lambda: grammars.json(schema)


def create_app(load: Callable[[], Served], settings: ServeSettings) -> FastAPI:
    """The server as an ASGI application; `load` makes the model, in a thread, when the application starts."""
    server = Server(load, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        server.stop()

    app = FastAPI(title="qwenvl", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    add_handlers(app)
    _answering(app, server)
    _operating(app, server)
    if settings.page:
        _page(app)
    app.add_middleware(Gate, settings=settings, metrics=server.metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after"],
        )
    return app


def _answering(app: FastAPI, server: Server) -> None:
    @app.post(
        "/v1/chat/completions",
        responses={200: {"model": answered.ChatCompletion, "content": _STREAMED}, **_ERRORS},
        response_class=JSONResponse,
    )
    async def chat(request: Request, body: asked.ChatRequest) -> Response:
        """Answer a conversation about pictures."""
        loaded = server.named(body.model)
        prompt = await loaded.prompts.chat(body)
        limit = body.max_completion_tokens or body.max_tokens
        job = await server.job(request, body, prompt, limit, (body.top_logprobs or 0) if body.logprobs else None)
        return await reply(request, body, job, loaded.served, server.metrics, _form(ChatForm, "chatcmpl", loaded))

    @app.post(
        "/v1/completions",
        responses={200: {"model": answered.Completion, "content": _STREAMED}, **_ERRORS},
        response_class=JSONResponse,
    )
    async def complete(request: Request, body: asked.CompletionRequest) -> Response:
        """Go on with a prompt, of the paper's tasks or of any form."""
        loaded = server.named(body.model)
        prompt = await loaded.prompts.completion(body)
        job = await server.job(request, body, prompt, body.max_tokens, body.logprobs)
        return await reply(request, body, job, loaded.served, server.metrics, _form(CompletionForm, "cmpl", loaded))

    @app.get("/v1/models", responses={200: {"model": answered.ModelList}, 401: _ERRORS[401], 503: _ERRORS[503]})
    async def models() -> Response:
        """The one model that answers here."""
        return JSONResponse({"object": "list", "data": [_card(server)]})

    @app.get(
        "/v1/models/{name:path}",
        responses={200: {"model": answered.ModelCard}, **{status: _ERRORS[status] for status in (401, 404, 503)}},
    )
    async def model(name: str) -> Response:
        """What is known of it."""
        server.named(name)
        return JSONResponse(_card(server))


def _operating(app: FastAPI, server: Server) -> None:
    @app.get("/health", responses={200: {"model": answered.Status}})
    async def health() -> Response:
        """The server runs, with or without its model."""
        return JSONResponse({"status": "ok"})

    @app.get("/ready", responses={200: {"model": answered.Status}, 503: _ERRORS[503]})
    async def ready() -> Response:
        """The model is there, and its engine works."""
        loaded = server.loaded
        if loaded.served.engine.figures().get("broken"):
            raise ApiError(503, "the engine has died; restart the server", code="failed")
        return JSONResponse({"status": "ready", "engine": loaded.served.kind})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, 401: _ERRORS[401]})
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(server.metrics.page(), media_type="text/plain; version=0.0.4")


def _page(app: FastAPI) -> None:
    from qwenvl.serve.web import mount

    mount(app)


def _form(kind: type[Form], prefix: str, loaded: _Loaded) -> Form:
    return kind(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), loaded.served.name)


def _card(server: Server) -> dict[str, Any]:
    served = server.loaded.served
    return {
        "id": served.name,
        "object": "model",
        "created": server.created,
        "owned_by": "qwenvl",
        "context": served.engine.limits.context,
        "image_tokens": served.slots,
    }
