"""Measuring a model by what it generates: benchmarks, metrics with intervals, the report."""

from qwenvl.evaluate.harness import Settings, evaluate_tasks, score_predictions
from qwenvl.evaluate.run import Evaluation, evaluate, evaluate_scenes, table

__all__ = [
    "Evaluation",
    "Settings",
    "evaluate",
    "evaluate_scenes",
    "evaluate_tasks",
    "score_predictions",
    "table",
]
