"""Reads PDFs in a process of their own, which a hostile one may hang, crash or fill: the process ends, and a new one
goes on at the next page.

The two talk over pipes: a line of JSON each, followed by so many bytes as it says. What comes from the process is data
alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.pdf_page import Page, PageLimits, open_pdf, read_page
from qwenvl.sample import Quad, TextLine

MAX_MEMORY = 2 << 30
"""Bytes of address space that the reading process may take."""

_DEATHS = 3
"""After so many pages of a document that hang or crash, the rest of it is given up."""

_DOCUMENTS = 200
"""After so many documents a fresh process is started: libraries keep some memory of each."""

_PATIENCE = 10
"""A page that waits instead of computing gets so many times its limit."""

HUNG = "took too long"
CRASHED = "crashed the reader"
GIVEN_UP = "given up after others of its document that hung or crashed"
BEYOND = "the rest of a long document"
_ALARM = int(getattr(signal, "SIGPROF", 0)) or 1 << 30
_WATCHED = 1
"""The exit code that `faulthandler` gives."""


class ReaderError(RuntimeError):
    """The process that reads PDFs can not be started."""


class PdfReader:
    """Reads documents, one after the other, in another process. Closing it, or the end of this process, ends that."""

    def __init__(self, limits: PageLimits, seconds: float) -> None:
        self.limits = limits
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._documents = 0

    def pages(self, content: bytes, most: int) -> Iterator[tuple[int, Page | str]]:
        """The first `most` pages of a document: a page's number from 0, and the page or why it is dropped.

        Where there are more, (`most`, BEYOND) ends it. Raises PageError where the document can not be read (on),
        ReaderError where the process can not be started, ImportError without pypdfium2.
        """
        self._documents += 1
        if self._documents > _DOCUMENTS:
            self.close()
            self._documents = 1
        whole = False
        try:
            yield from self._pages(content, most)
            whole = True
        except PageError:
            whole = True
            raise
        finally:
            if not whole:  # answers that nobody read stand in the pipe
                self.close()

    def _pages(self, content: bytes, most: int) -> Iterator[tuple[int, Page | str]]:
        begin = count = more = 0
        for _ in range(_DEATHS):
            count, more = self._start(content, begin, most)
            found: Page | str = ""
            while begin < count and found not in (HUNG, CRASHED):
                found = self._page()
                yield begin, found
                begin += 1
            if begin == count:
                break
        for number in range(begin, count):
            yield number, GIVEN_UP
        if more:
            yield count, BEYOND

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):  # what was under way has nowhere to go
                    pipe.close()
            process.wait()

    def _start(self, content: bytes, begin: int, most: int) -> tuple[int, int]:
        """Hand the document over; how many pages are read of it, and how many more it has. Raises PageError."""
        if self._process is None:
            self._process = _spawn(self.limits, self.seconds)
            if "ready" not in self._answer():
                raise ReaderError("the process that reads PDFs can not be started: python -m " + __name__)
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError):  # it died: its answer will say so
            stream.write(json.dumps({"bytes": len(content), "begin": begin, "most": most}).encode() + b"\n")
            stream.write(content)
            stream.flush()
        answer = self._answer()
        if "error" in answer:
            raise PageError(answer["error"])
        return int(answer["pages"]), int(answer["more"])

    def _page(self) -> Page | str:
        answer = self._answer()
        if "error" in answer:
            return str(answer["error"])
        jpeg = self._read(answer["bytes"])
        if len(jpeg) < answer["bytes"]:
            return self._died()
        width, height = answer["size"]
        lines = tuple(TextLine(text, Quad(_corners(flat))) for text, flat in answer["lines"])
        return Page(jpeg, width, height, lines)

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return {"error": self._died()}
        found: dict[str, Any] = json.loads(line)
        if "missing" in found:
            raise ImportError(found["missing"])
        return found

    def _read(self, count: int) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.read(count)

    def _died(self) -> str:
        """How the process ended."""
        assert self._process is not None
        code = self._process.wait()
        self.close()
        return HUNG if code in (_WATCHED, -_ALARM) else CRASHED


def _corners(flat: list[float]) -> Any:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _spawn(limits: PageLimits, seconds: float) -> subprocess.Popen[bytes]:
    # workers of an engine are daemons, which `multiprocessing` gives no children
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, json.dumps(asdict(limits)), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        bufsize=1 << 20,
    )


def _serve(limits: PageLimits, seconds: float) -> None:
    """The other process's life: read documents until the pipe closes."""
    # Ctrl-C reaches all processes of a terminal: who started this one decides what becomes of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    commands, answers = sys.stdin.buffer, sys.stdout.buffer
    with open(os.devnull, "w") as nowhere, contextlib.suppress(BrokenPipeError):
        answers.write(b'{"ready": true}\n')
        answers.flush()
        while line := commands.readline():
            asked = json.loads(line)
            content = commands.read(asked["bytes"])
            for head, body in _answers(content, asked["begin"], asked["most"], limits, seconds, nowhere):
                answers.write(json.dumps(head).encode() + b"\n" + body)
                answers.flush()


def _answers(
    content: bytes, begin: int, most: int, limits: PageLimits, seconds: float, nowhere: IO[str]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What is said of a document: its pages' count or its error, then each page from `begin` on."""
    _watch(seconds, nowhere)
    try:
        document = open_pdf(content)
    except ImportError as error:
        yield {"missing": str(error)}, b""
        return
    except PageError as error:
        _watch(0, nowhere)
        yield {"error": error.why}, b""
        return
    with contextlib.closing(document):
        count = min(len(document), most)
        _watch(0, nowhere)
        yield {"pages": count, "more": len(document) - count}, b""
        for number in range(begin, count):
            _watch(seconds, nowhere)
            answer = _read(document, number, limits)
            # who reads the answers may take its time
            _watch(0, nowhere)
            yield answer


def _read(document: Any, number: int, limits: PageLimits) -> tuple[dict[str, Any], bytes]:
    """A page as head and body of an answer."""
    try:
        page = read_page(document, number, limits)
    except PageError as error:
        return {"error": error.why}, b""
    except MemoryError:
        return {"error": "needs too much memory"}, b""
    lines = [[line.text, [round(value, 2) for corner in line.quad.points for value in corner]] for line in page.lines]
    return {"size": [page.width, page.height], "lines": lines, "bytes": len(page.jpeg)}, page.jpeg


def _watch(seconds: float, nowhere: IO[str]) -> None:
    """End this process after so long, in the midst of whatever it does; 0: do not.

    Seconds of the processor's time where the system can, so that what becomes of a page does not depend on what else
    the machine does.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
    if seconds:
        faulthandler.dump_traceback_later(seconds * _PATIENCE, exit=True, file=nowhere)
    else:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    try:
        _serve(PageLimits(**json.loads(sys.argv[1])), float(sys.argv[2]))
    except Exception:
        os._exit(3)  # not what `_WATCHED` means
