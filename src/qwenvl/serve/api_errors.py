"""What goes wrong with a request, in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """A request that is answered with an error. `param` names the field, `code` the kind, for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    @property
    def kind(self) -> str:
        """How the metrics count it."""
        return self.code or f"status_{self.status}"

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, fallback)
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """The error as an answer."""
        given = dict(headers or {})
        if self.retry_after is not None:
            given["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            given["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, given)


def of_validation(errors: Sequence[Mapping[str, Any]], body: Any) -> ApiError:
    """The first thing that is wrong with a body's fields; what stood there is not repeated."""
    # of a union's members each says what it misses: the one that got furthest is the one that was meant
    first = max(errors, key=lambda error: (error["type"] == "extra_forbidden", len(error["loc"])))
    kind = first["type"]
    if kind == "json_invalid":
        return ApiError(
            400, f"the body is not JSON: {first.get('ctx', {}).get('error', 'broken')}", code="invalid_json"
        )
    param = _field(first["loc"], body, kind == "missing")
    if kind == "extra_forbidden":
        return ApiError(400, f"the field {param!r} is not supported; leave it out", param, "unsupported_field")
    if kind == "missing":
        return ApiError(400, f"the field {param!r} is missing", param or None, "missing_field")
    message = str(first["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return ApiError(400, f"{param}: {message}" if param else message, param or None, "invalid_value")


def _field(place: Sequence[int | str], body: Any, missing: bool) -> str:
    """ "messages[0].content" of a validation error's place, which names members of unions too: those that `body` has
    no such field for.
    """
    text, at = "", body
    steps = place[1:] if place and place[0] == "body" else place
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(step, int) and isinstance(at, list):
            text, at = f"{text}[{step}]", at[step] if step < len(at) else None
        elif isinstance(at, Mapping) and (step in at or (last and missing)):
            if not last and step in (at.get("type"), at.get("role")):
                continue  # the part's kind, which may also be the name of one of its fields
            text, at = f"{text}.{step}" if text else str(step), at.get(step)
    return text


def add_handlers(app: FastAPI) -> None:
    """Every error of `app` in the one form."""

    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> Response:
        request.scope["qwenvl_error"] = error.kind
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await ours(request, of_validation(error.errors(), error.body))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        found = ApiError(error.status_code, str(error.detail), code=_CODES.get(error.status_code))
        request.scope["qwenvl_error"] = found.kind
        return found.response(error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        # the server's log has the trace; whoever asked learns nothing of the inside
        request.scope["qwenvl_error"] = "fault"
        return ApiError(500, "a fault of the server; its log says more", code="fault").response()
