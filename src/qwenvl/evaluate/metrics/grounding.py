"""Boxes against boxes: IoU of referring expressions, and F1 of phrases with boxes in a grounded caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qwenvl.sample import Box, Region
from qwenvl.text.geometry import iou

THRESHOLD = 0.5
"""A box counts as right from this IoU on, as in the paper's Acc@0.5 (section 4.3)."""


def boxes_of(region: Region) -> tuple[Box, ...]:
    """A region's boxes; quads count as the boxes around them."""
    return region.boxes + tuple(quad.box for quad in region.quads)


def referring_iou(predicted: Sequence[Region], truth: Sequence[Box]) -> float:
    """IoU in [0, 1] of the **first** predicted box with the best of the true ones; 0 when nothing was predicted.

    Only the first counts, so that a model gains nothing by listing many boxes.
    """
    first = next((box for region in predicted for box in boxes_of(region)), None)
    return max((iou(first, box) for box in truth), default=0.0) if first is not None else 0.0


def grounded_counts(
    predicted: Sequence[Region],
    truth: Sequence[Region],
    same: Callable[[str, str], bool],
    threshold: float = THRESHOLD,
) -> tuple[int, int, int]:
    """(true positives, false positives, misses) of the (phrase, box) pairs of one grounded caption.

    Each box of each region is one pair. A predicted pair may match a true one when their IoU is at least `threshold`
    and `same(predicted phrase, true phrase)` holds. Pairs are matched greedily by falling IoU, each at most once, so
    a box said twice is one hit and one false positive. Precision = tp / (tp + fp), recall = tp / (tp + misses);
    F1@0.5 is over the sums of all pictures (micro-average).
    """
    said = [(region.phrase or "", box) for region in predicted for box in boxes_of(region)]
    true = [(region.phrase or "", box) for region in truth for box in boxes_of(region)]
    pairs = sorted(
        (
            (iou(box, other), i, j)
            for i, (phrase, box) in enumerate(said)
            for j, (name, other) in enumerate(true)
            if same(phrase, name)
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    used_said: set[int] = set()
    used_true: set[int] = set()
    for overlap, i, j in pairs:
        if overlap < threshold:
            break
        if i not in used_said and j not in used_true:
            used_said.add(i)
            used_true.add(j)
    hits = len(used_said)
    return hits, len(said) - hits, len(true) - hits
