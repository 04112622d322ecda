"""Workers that are processes of this machine.

Unlike `concurrent.futures`, where one killed process breaks the pool and every unit under way is lost, each worker has
a pipe of its own: it is known which unit died with it, and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from qwenvl.data.engine.crew import Report
from qwenvl.data.engine.errors import WorkerDied, portable

T = TypeVar("T")

_FORKS = "forkserver" in multiprocessing.get_all_start_methods()
_PATIENCE = 5.0
"""Seconds that a worker gets to end by itself."""


class Pool(Generic[T]):
    """`workers` processes, started as they are needed; they end when this process does, however it ends."""

    def __init__(self, work: Callable[[T], int | None], workers: int) -> None:
        self.size = workers
        self._work = work
        self._context = _context(work, workers)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, int]] = {}

    def give(self, number: int, unit: T) -> None:
        """Start a unit on an idle worker or a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._context, self._work)
        try:
            worker.connection.send(unit)
        except OSError:  # it died while it was idle
            worker.end(at_once=True)
            worker = _Worker(self._context, self._work)
            worker.connection.send(unit)
        self._busy[worker.connection] = (worker, number)

    def wait(self, seconds: float) -> list[Report]:
        """What ended, after at most so long."""
        reports = []
        for connection in wait(list(self._busy), seconds):
            assert isinstance(connection, Connection)
            worker, number = self._busy.pop(connection)
            try:
                reports.append(Report(number, connection.recv()))
                self._idle.append(worker)
            except (EOFError, OSError):
                reports.append(Report(number, WorkerDied(worker.end(at_once=True))))
        return reports

    def close(self, at_once: bool) -> None:
        """End all workers."""
        workers = [*self._idle, *(worker for worker, _ in self._busy.values())]
        for worker in workers:
            worker.connection.close()
            if at_once:
                worker.process.terminate()
        for worker in workers:
            worker.end(at_once)


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, context: Any, work: Callable[[Any], int | None]) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        # the worker has the only other end, so that its death closes the pipe
        theirs.close()

    def end(self, at_once: bool) -> str:
        """See the process off; say how it ended."""
        self.connection.close()
        if at_once:
            # what died is given the time to be dead, so that its exit code is known
            self.process.join(_PATIENCE)
            self.process.kill()
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its process ended with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"


def warm_up(module: str, workers: int | None = None) -> None:
    """Start the server that workers are forked from and let it import `module`, while this process does other things.

    A run does so by itself; calling it before one's own slow imports saves their time.
    """
    if not _FORKS:
        return
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    # libraries that bring threads of their own share the cores with the other workers
    before = os.environ.get("OMP_NUM_THREADS")
    if before is None:
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores() // (workers or cores())))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]


def _context(work: Callable[[Any], Any], workers: int) -> Any:
    """Workers are forked from a clean server that has imported what the work needs: quick, and without the threads of
    this process, which a fork would leave in the midst of what they do.
    """
    warm_up(_module(work), workers)
    return multiprocessing.get_context("forkserver" if _FORKS else "spawn")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _module(work: Any) -> str:
    """The module that the work is written in."""
    inner = getattr(work, "func", work)  # of a functools.partial
    return getattr(inner, "__module__", None) or type(inner).__module__


def _serve(connection: Connection, work: Callable[[Any], int | None]) -> None:
    """A worker's life: do what comes through the pipe until it closes."""
    # Ctrl-C reaches all processes of a terminal: the run decides what becomes of the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            unit = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result: int | Exception = work(unit) or 0
        except Exception as error:
            result = portable(error)
        with suppress(OSError):  # nobody listens any more
            connection.send(result)


def _end_with_parent() -> None:
    """Without the run, a unit's result would come in the way of the next run's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
