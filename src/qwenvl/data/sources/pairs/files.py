"""Opens what the user named, a local path or an fsspec URL, and reads on in it.

A read that fails is an OSError with a number, as of the system: it may go well another time. What is wrong with the
content is another matter and the formats' own.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qwenvl.data.sources.report import DataError

_BUFFER = 1 << 16  # a bigger one copies pictures twice


def is_url(path: str) -> bool:
    """Whether fsspec is asked for it: "s3://…", "https://…", "memory://…"."""
    return "://" in path


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Raises DataError for a scheme that can't be had."""
    if "::" in url:
        raise DataError(f"{url}: chained addresses are not read; download the archive")
    try:
        import fsspec
    except ImportError as error:
        raise ImportError("URLs need fsspec: pip install 'qwenvl[data]'") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # an unknown scheme, or one whose package is missing
        raise DataError(f"{url}: {error}") from error
    return system, path


@contextmanager
def open_file(path: str) -> Iterator[io.BufferedReader[Any]]:
    """The file, for reading. Raises OSError."""
    if not is_url(path):
        with io.BufferedReader(io.FileIO(path), _BUFFER) as file:
            yield file
        return
    system, inside = filesystem(path)
    try:
        remote = system.open(inside, "rb")
    except OSError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", path) from error
    with remote, io.BufferedReader(_Remote(remote, path), _BUFFER) as file:
        yield file


def size_of(file: io.BufferedReader[Any]) -> int | None:
    """Bytes of an open file; None where nobody says."""
    if isinstance(file.raw, _Remote):
        return file.raw.size
    return os.fstat(file.fileno()).st_size


class _Remote(io.RawIOBase):
    """An fsspec file whose failures are all OSErrors with a number."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path, self._at = file, path, 0
        size = getattr(file, "size", None)
        self.size: int | None = size if isinstance(size, int) else None
        if self.size is None and file.seekable():
            self.size = file.seek(0, os.SEEK_END)
            file.seek(0)

    def _ask(self, what: str, *given: Any) -> Any:
        try:
            return getattr(self._file, what)(*given)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", self._path) from error

    def readinto(self, buffer: Any) -> int:
        data: bytes = self._ask("read", len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = int(self._ask("seek", offset, whence))
        return self._at

    def tell(self) -> int:
        return self._at
