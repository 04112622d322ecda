"""The folder that a run of units fills: one run at a time, refused where another is in it, full disks told."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RunError(ValueError):
    """A folder can not take this run; the message says why and what to do."""


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """No second run in the same folder meanwhile. Raises RunError where there is one."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system: the user has to see to it
        yield
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{out}: another run is at work in this folder; wait for it, or stop it") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """What a full disk says, in words that help."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        told = "the disk is full; what is done is kept: make room, then run the same command again and it goes on there"
        raise OSError(error.errno, told, str(folder)) from error


def read_settings(path: Path) -> dict[str, Any]:
    """What a run wrote of itself. Raises RunError where it can not be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: can not be read ({error}); start over with --fresh") from error
    return found if isinstance(found, dict) else {}


def same_run(there: Mapping[str, Any], own: Mapping[str, Any], out: Path, whats: Mapping[str, str]) -> None:
    """Raise RunError unless the run in the folder is this one; `whats` names the keys that must be equal."""
    for key, what in whats.items():
        if there.get(key) != own[key]:
            change = difference(there.get(key), own[key])
            raise RunError(
                f"{out}: holds a run of another {what}{f' ({change})' if change else ''}; choose another folder, or "
                "start over in this one with --fresh"
            )


def not_empty(out: Path, kind: str) -> RunError:
    """The error for a folder with other files in it; `kind` names the run: "no cleaning run"."""
    names = ", ".join(sorted(entry.name for entry in out.iterdir())[:5])
    return RunError(f"{out}: not empty ({names}), and no {kind}: choose another folder")


def difference(there: Any, own: Any, where: str = "") -> str:
    """The first place where two JSON values differ: "aspect_ratio.max: 3.0 there, 2.5 now"."""
    if isinstance(there, dict) and isinstance(own, dict):
        for key in [*there, *(key for key in own if key not in there)]:
            if there.get(key) != own.get(key):
                return difference(there.get(key), own.get(key), f"{where}.{key}" if where else str(key))
    if isinstance(there, list) and isinstance(own, list) and len(there) == len(own):
        for number, (one, other) in enumerate(zip(there, own, strict=True)):
            if one != other:
                name = other.get("name", number) if isinstance(other, dict) else number
                return difference(one, other, f"{where}.{name}" if where else str(name))
    if isinstance(there, dict | list) or isinstance(own, dict | list):
        return f"{where} differ" if where else ""
    return f"{where}: {there} there, {own} now" if where else ""
