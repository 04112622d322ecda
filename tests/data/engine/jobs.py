"""Work for workers: other processes, so it is a module's functions. A unit is the path of the mark that it leaves."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path


def done(unit: Path) -> bool:
    """Whether the mark is there."""
    return unit.is_file()


def mark(unit: Path) -> int:
    """Leave the mark, with the number of the process; whole or not at all."""
    draft = unit.with_suffix(".tmp")
    draft.write_text(str(os.getpid()))
    draft.rename(unit)
    return 10


def counted(unit: Path) -> int:
    """Leave the mark and count it."""
    attempts(unit)
    return mark(unit)


def attempts(unit: Path) -> int:
    """Count the attempts at a unit."""
    tries = unit.with_suffix(".tries")
    with tries.open("a") as file:
        file.write("x")
    return len(tries.read_text())


def flaky(unit: Path) -> int:
    """Odd units fail the first time, each third kills its worker; then they go well."""
    number = int(unit.stem)
    if number % 2 and not unit.with_suffix(".tries").exists():
        attempts(unit)
        if number % 3 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError(f"unit {number} is not in the mood")
    return mark(unit)


def hopeless(unit: Path) -> int:
    """Units 3 and 5 never go well: one raises what can't be pickled, one kills its worker."""
    if unit.stem == "3":
        attempts(unit)

        class Local(Exception):
            pass

        raise Local("of no known kind")
    if unit.stem == "5":
        attempts(unit)
        os._exit(7)
    return mark(unit)


def broken(unit: Path) -> int:
    """Nothing goes well."""
    attempts(unit)
    raise OSError(errno.EIO, "input/output error", str(unit))


def full(unit: Path) -> int:
    """The disk is full."""
    attempts(unit)
    raise OSError(errno.ENOSPC, "no space left on device", str(unit))


def forgetful(unit: Path) -> int:
    """Says that all went well and leaves nothing."""
    return 1


def late(unit: Path) -> int:
    """Dies after its mark, before it can say so; a second attempt would fail."""
    if unit.exists():
        raise FileNotFoundError("what it was made from is gone")
    mark(unit)
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def slow(unit: Path) -> int:
    """Takes a while."""
    time.sleep(0.2)
    return mark(unit)
