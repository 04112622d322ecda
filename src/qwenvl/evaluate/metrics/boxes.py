"""Boxes given as plain numbers: IoU, Acc@0.5 of referring expressions, F1 of grounded captions."""

from __future__ import annotations

from collections.abc import Sequence

from qwenvl.evaluate.metrics.grounding import THRESHOLD, grounded_counts
from qwenvl.sample import Box, Region
from qwenvl.text import geometry

Corners = Box | Sequence[float]
"""A box: `Box`, or x0, y0, x1, y1 in pixels (or any unit that both boxes share)."""

Grounded = Sequence[tuple[str, Sequence[Corners]]]
"""A grounded caption: its phrases, each with its boxes."""


def iou(a: Corners, b: Corners) -> float:
    """Intersection over union in 0…1; 0 for boxes without area. Corners may be swapped. Raises ValueError."""
    return geometry.iou(_box(a), _box(b))


def grounding_accuracy(
    predictions: Sequence[Corners | None], targets: Sequence[Corners], threshold: float = THRESHOLD
) -> float:
    """The share of expressions whose box has an IoU of at least `threshold` with the true one (paper, section 4.3).

    None, for an answer without a box, counts as wrong. Raises ValueError for lists of different length, or none.
    """
    if len(predictions) != len(targets) or not targets:
        raise ValueError(f"{len(predictions)} predicted boxes for {len(targets)} expressions; expected one for each")
    right = [p is not None and iou(p, t) >= threshold for p, t in zip(predictions, targets, strict=True)]
    return sum(right) / len(right)


def grounded_caption_f1(
    predictions: Sequence[Grounded], targets: Sequence[Grounded], threshold: float = THRESHOLD
) -> float:
    """F1 of the (phrase, box) pairs of all captions together.

    A pair is right with one of the truth that has the same words (case and spaces aside) and an IoU of at least
    `threshold`, each used once; the best overlaps are joined first. Without pairs on both sides it is 1. Raises
    ValueError for lists of different length.
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} captions for {len(targets)} pictures; expected one for each")
    hits = extra = missed = 0
    for said, true in zip(predictions, targets, strict=True):
        found = grounded_counts(_regions(said), _regions(true), _same, threshold)
        hits, extra, missed = hits + found[0], extra + found[1], missed + found[2]
    pairs = 2 * hits + extra + missed
    return 2 * hits / pairs if pairs else 1.0


def _regions(caption: Grounded) -> list[Region]:
    return [Region(phrase, tuple(_box(box) for box in boxes)) for phrase, boxes in caption]


def _same(phrase: str, other: str) -> bool:
    return phrase.lower().split() == other.lower().split()


def _box(value: Corners) -> Box:
    if isinstance(value, Box):
        return value
    if len(value) != 4:
        raise ValueError(f"a box has four numbers (x0, y0, x1, y1), not {len(value)}: {value}")
    x0, y0, x1, y1 = (float(number) for number in value)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
