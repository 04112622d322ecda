"""Measuring a model by what it generates: benchmarks, metrics with intervals, the report.

The names are imported when first used: metrics alone need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwenvl.evaluate.harness import Settings, evaluate_tasks, score_predictions
    from qwenvl.evaluate.run import Evaluation, evaluate, evaluate_scenes, table

_HOMES = {
    **dict.fromkeys(("Evaluation", "evaluate", "evaluate_scenes", "table"), "qwenvl.evaluate.run"),
    **dict.fromkeys(("Settings", "evaluate_tasks", "score_predictions"), "qwenvl.evaluate.harness"),
}

__all__ = [
    "Evaluation",
    "Settings",
    "evaluate",
    "evaluate_scenes",
    "evaluate_tasks",
    "score_predictions",
    "table",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
