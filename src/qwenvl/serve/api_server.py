"""Runs the application on a socket: uvicorn, with a time limit for the head of a request, and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from qwenvl.serve.api_settings import ServeSettings


class AddressError(OSError):
    """The address can't be listened at; the message says why."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises AddressError, naming what to do, where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is named, because asyncio only then sends small pieces at once
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressError(f"port {port} is taken on {host}; give another one: --port {port + 1}") from None
        raise AddressError(f"can not listen at {host}:{port}: {error.strerror or error}") from None
    listening.set_inheritable(True)
    return listening


def made(app: FastAPI, settings: ServeSettings) -> uvicorn.Server:
    """A server for `app` with the time limits of `settings`; `run` it with sockets of `listen`."""
    config = uvicorn.Config(
        app,
        http=_protocol(settings.header_seconds),
        ws="none",
        access_log=False,  # addresses of clients and what they ask are nobody's business
        log_level="error",  # else every connection that speaks no HTTP writes a line
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
        h11_max_incomplete_event_size=32 << 10,
    )
    return uvicorn.Server(config)


def _protocol(seconds: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 that closes a connection whose request's head does not arrive whole within `seconds`."""

    class Timed(H11Protocol):  # type: ignore[misc]
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._settle()
            elif self._late is None:
                self._wait()  # a further request on the same connection has begun

        def connection_lost(self, exc: Exception | None) -> None:
            self._settle()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._late = self.loop.call_later(seconds, self._close)

        def _settle(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close(self) -> None:
            self._late = None
            if not self.transport.is_closing():
                self.transport.close()

    return Timed


def run(app: FastAPI, settings: ServeSettings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then let what runs finish. `ready` is called once, when the model is there.

    Raises what loading the model raised.
    """
    server = made(app, settings)
    state: Any = app.state.server

    async def watch() -> None:
        told = False
        while not server.should_exit:
            if state.failed is not None:
                server.should_exit = True
            elif state.ready and not told:
                told = True
                ready()
            await asyncio.sleep(0.1)

    async def serve() -> None:
        watching = asyncio.create_task(watch())
        try:
            await server.serve(sockets=[listening])
        finally:
            watching.cancel()

    if threading.current_thread() is threading.main_thread():
        # uvicorn raises the signal again once it has ended in order: an order to stop is no failure
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
    if state.failed is not None:
        raise state.failed
