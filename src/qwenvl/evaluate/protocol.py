"""How a score came about, written beside it: prompt, decoding, metrics, data, versions, commit, checkpoint."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import qwenvl
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data

SAME = (
    *("task", "split", "prompt", "decoding", "few_shot", "seed", "limit", "data"),
    *("checkpoint", "dtype", "predictions"),
)
"""What must be the same for answers to stand in one file."""


def protocol_of(
    benchmark: Benchmark, data: Data, few_shot: int, seed: int, limit: int | None, model: Mapping[str, Any]
) -> dict[str, Any]:
    """All that decides a score, as plain JSON; `model` is of `model_of`, or says whose answers are scored."""
    return {
        "task": benchmark.name,
        "title": benchmark.title,
        "split": benchmark.split,
        "paper": benchmark.table,
        "prompt": ("" if benchmark.form.startswith("<chat>") else "<img>…</img>" * (benchmark.name not in TEXT_ONLY))
        + benchmark.form,
        "decoding": benchmark.decoded,
        "few_shot": few_shot or benchmark.shots,
        "seed": seed,
        "limit": limit,
        "metrics": {name: _about(metric) for name, metric in {**benchmark.each, **benchmark.whole}.items()},
        "data": {"file": data.path.name, "reader": data.format, "options": data.query, "digest": digest(data.path)},
        **model,
        "versions": versions(),
        "commit": commit(),
    }


TEXT_ONLY = frozenset({"mmlu", "cmmlu", "ceval"})
"""Benchmarks without pictures."""


def model_of(folder: Path, dtype: str, device: str) -> dict[str, Any]:
    """Which model answered: its folder, a digest of its weights, and what it computed in."""
    return {"model": str(folder), "checkpoint": checkpoint(folder), "dtype": dtype, "device": device}


def checkpoint(folder: Path) -> str:
    """A digest of a checkpoint's weights and configuration, the same wherever the folder lies."""
    files = sorted(
        path
        for pattern in ("*.safetensors", "*.bin", "config.json", "generation_config.json", "adapter_config.json")
        for path in folder.glob(pattern)
    )
    whole = hashlib.blake2b(digest_size=16)
    for path in files:
        whole.update(f"{path.name}\0{_file_digest(path)}\0".encode())
    return whole.hexdigest()


def digest(path: Path) -> str:
    """A digest of an annotation: of the file, or of the names and sizes in a folder."""
    if path.is_file():
        return _file_digest(path)
    listing = sorted((str(f.relative_to(path)), f.stat().st_size) for f in path.rglob("*") if f.is_file())
    return hashlib.blake2b(repr(listing).encode(), digest_size=16).hexdigest()


def versions() -> dict[str, str]:
    """The versions of what computes a score."""
    found = {"qwenvl": qwenvl.__version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "numpy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the working tree that this code runs from, "+" behind it where it is changed; None elsewhere."""
    here = Path(qwenvl.__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of `SAME` in which two protocols differ."""
    return [name for name in SAME if before.get(name) != now.get(name)]


def _about(metric: Callable[..., Any]) -> str:
    """What a metric says of itself."""
    return (inspect.getdoc(metric) or "").split("\n\n")[0].replace("\n", " ")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
