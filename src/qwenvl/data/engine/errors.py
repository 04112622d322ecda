"""What ends a run, and how an error gets from a worker to the run."""

from __future__ import annotations

import errno
import pickle

from qwenvl.typed import ConfigError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class EngineError(RuntimeError):
    """The run did not get to its end; the message says what failed and how to go on."""


class Interrupted(Exception):
    """The run was asked to stop; what was done is kept."""


class StopRun(RuntimeError):
    """Raised by a unit's work to end the run: no other unit would go better. The message is for people."""


class WorkerDied(RuntimeError):
    """A worker ended in the midst of a unit."""


def ends_run(error: BaseException) -> bool:
    """Whether it is of no use to try again or other units: no room on the disk, a package or a setting missing."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, StopRun | ImportError | ConfigError)


def portable(error: Exception) -> Exception:
    """The error as another process can read it: itself, or its words."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    return error if type(copy) is type(error) and str(copy) == str(error) else RuntimeError(told(error))


def told(error: BaseException) -> str:
    """The error in one line, with its kind where the words alone would puzzle."""
    words = " ".join(str(error).split())
    if isinstance(error, WorkerDied | StopRun | ConfigError) and words:
        return words
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
