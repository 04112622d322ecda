"""The page of the server: hand-written files of the package, served from memory under a strict policy.

No build step and no framework: what the browser gets is what stands in `assets/web/`, and it asks no other host for
anything. The page talks to the same API as every other client.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from fastapi import FastAPI

FOLDER = Path(__file__).parents[1] / "assets" / "web"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

HEADERS = {
    # data: and blob: are the pictures that people choose, shown before and after they are sent.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # The browser keeps a copy and asks each time whether it still holds: after an update nobody sees old files.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    tag: str


def mount(app: FastAPI) -> None:
    """Add the page at `/` and its files under `/web/` to `app`; none of them stands in the API's description.

    Only files of the package are served: they are read here, once, and a path in a request is looked up among their
    names, never on disk. The page and its examples need no key; the API that it calls asks for one where it is set.
    """
    files = {
        path.relative_to(FOLDER).as_posix(): _read(path) for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES
    }

    async def page(request: Request) -> Response:
        return _answer(request, files["index.html"])

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404, f"the page has no file {name[:100]!r}")
        return _answer(request, files[name])

    app.add_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_route("/web/{name:path}", file, methods=["GET"], include_in_schema=False)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def _answer(request: Request, file: _File) -> Response:
    headers = {**HEADERS, "ETag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.type, headers=headers)
