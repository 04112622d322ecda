"""GRIT's labels without nesting: "there are many recursive grounding box labels in one caption. We use the greedy
algorithm to clean the caption to make sure each image contains the most box labels with no recursive box labels"
(paper, appendix A.3).

A label is a range of the caption with its boxes, and ranges in others ("a dog", "a dog in a field") can not be written
with <ref> and <box>: `unnested_phrases` chooses among them. `unnested_boxes` reads the same sentence as one about the
boxes in the picture. Both give the most that is possible, which a greedy choice reaches only where every label has one
box.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from qwenvl.sample import Box


def unnested_phrases(labels: Sequence[tuple[int, int, int]]) -> list[int]:
    """Which of the labels (start, end, number of boxes) stay, as rising positions: no two ranges share a character,
    and the boxes are as many as they can be.

    Of choices with equally many boxes the one whose phrases are longest in all, for a longer phrase singles out better;
    empty ranges never stay. Labels with the same range are one to merge before. Takes n·log n.
    """
    order = sorted((n for n, (start, end, _) in enumerate(labels) if start < end), key=lambda n: (labels[n][1], n))
    ends = [labels[n][1] for n in order]
    # best[k]: boxes, characters and choice among the first k labels by their ends
    best: list[tuple[int, int]] = [(0, 0)]
    taken: list[int | None] = []
    for k, n in enumerate(order):
        start, end, boxes = labels[n]
        before = bisect_right(ends, start, 0, k)
        with_it = (best[before][0] + boxes, best[before][1] + end - start)
        taken.append(before if with_it > best[k] else None)
        best.append(max(with_it, best[k]))
    kept, k = [], len(order)
    while k:
        k -= 1
        if (rest := taken[k]) is not None:
            kept.append(order[k])
            k = rest
    return sorted(kept)


def unnested_boxes(boxes: Sequence[Box]) -> list[int]:
    """Which of the boxes stay, as rising positions: none lies in another, and they are as many as they can be.

    Boxes that share an edge can lie in one another; of equal ones the first counts as the outer. Lying in one another
    is a partial order, so the most are a largest antichain: all but a largest matching's (theorems of Dilworth and
    Kőnig). Takes n³ at worst, for the few boxes of a picture.
    """
    outer = [[j for j in range(len(boxes)) if j != i and _inside(boxes, i, j)] for i in range(len(boxes))]
    inner_of: dict[int, int] = {}
    for i in range(len(boxes)):
        _match(i, outer, inner_of, set())
    # from the unmatched, along edges outwards and matched edges back
    reached_inner = set(range(len(boxes))) - set(inner_of.values())
    reached_outer: set[int] = set()
    waiting = list(reached_inner)
    while waiting:
        for j in outer[waiting.pop()]:
            if j not in reached_outer:
                reached_outer.add(j)
                if inner_of[j] not in reached_inner:
                    reached_inner.add(inner_of[j])
                    waiting.append(inner_of[j])
    return sorted(reached_inner - reached_outer)


def _inside(boxes: Sequence[Box], i: int, j: int) -> bool:
    a, b = boxes[i], boxes[j]
    return (b.x0 <= a.x0 and b.y0 <= a.y0 and a.x1 <= b.x1 and a.y1 <= b.y1) and (a != b or j < i)


def _match(i: int, outer: Sequence[Sequence[int]], inner_of: dict[int, int], seen: set[int]) -> bool:
    """Matches i to a box around it, moving others to other boxes where that frees one."""
    for j in outer[i]:
        if j not in seen:
            seen.add(j)
            if j not in inner_of or _match(inner_of[j], outer, inner_of, seen):
                inner_of[j] = i
                return True
    return False
