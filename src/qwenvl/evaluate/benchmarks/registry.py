"""The benchmarks by name, and groups of them."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

from qwenvl.evaluate.benchmarks.benchmark import Benchmark

SCENES = "scenes"
"""The nano world's own held-out scenes: no file, several tasks; `qwenvl.evaluate.run` evaluates them."""

_MODULES = (
    "captions",
    "vqav2",
    "okvqa",
    "gqa",
    "scienceqa",
    "vizwiz",
    "textvqa",
    "docvqa",
    "chartqa",
    "ai2d",
    "ocrvqa",
    "refcoco",
    "grit",
    "seed_bench",
    "mme",
    "mmbench",
    "touchstone",
    "mmlu",
    "chinese_exams",
)

GROUPS = {
    "caption": ("nocaps", "flickr30k"),
    "vqa": ("vqav2", "okvqa", "gqa", "scienceqa", "vizwiz"),
    "text_vqa": ("textvqa", "docvqa", "chartqa", "ai2d", "ocrvqa"),
    "refer": ("refcoco", "refcoco+", "refcocog", "grit"),
    "chat": ("touchstone", "seed", "mme"),
    "text": ("mmlu", "cmmlu", "ceval"),
    "chartqa": ("chartqa_human", "chartqa_augmented"),
    "refcoco": ("refcoco_val", "refcoco_testA", "refcoco_testB"),
    "refcoco+": ("refcoco+_val", "refcoco+_testA", "refcoco+_testB"),
    "refcocog": ("refcocog_val", "refcocog_test"),
    "paper": ("caption", "vqa", "text_vqa", "refer", "chat", "text"),
}
"""Names that stand for several benchmarks."""


class UnknownTask(ValueError):
    """A task of this name does not exist."""


def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks that are read from files, by name, in the paper's order."""
    found: dict[str, Benchmark] = {}
    for name in _MODULES:
        module = importlib.import_module(f"qwenvl.evaluate.benchmarks.{name}")
        found |= {one.name: one for one in module.BENCHMARKS}
    return found


def chosen(names: Iterable[str]) -> list[str]:
    """The names of the benchmarks that names and groups stand for, each once. Raises UnknownTask, naming the
    nearest.
    """
    known = {**dict.fromkeys((*benchmarks(), SCENES)), **GROUPS}
    found: dict[str, None] = {}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UnknownTask(
                f"no task {name!r}{f' (did you mean {near[0]!r}?)' if near else ''}; there are "
                f"{', '.join(sorted(known))}"
            )
        members = GROUPS.get(name)
        found |= dict.fromkeys(chosen(members) if members else (name,))
    return list(found)
