"""Measuring a model by what it generates: benchmarks, metrics with intervals, the report."""

from qwenvl.evaluate.run import Evaluation, evaluate, evaluate_scenes, table

__all__ = ["Evaluation", "evaluate", "evaluate_scenes", "table"]
