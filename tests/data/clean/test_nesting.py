"""GRIT's choice of labels: never nested, and as many as trying everything finds."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.data.clean.nesting import unnested_boxes, unnested_phrases
from qwenvl.sample import Box

LABELS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 3)), max_size=8)
SIDE = st.integers(0, 6).map(float)
BOXES = st.lists(st.builds(Box, SIDE, SIDE, SIDE, SIDE), max_size=8)


def disjoint(labels: list[tuple[int, int, int]]) -> bool:
    return all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(labels, 2)) and all(s < e for s, e, _ in labels)


def nested(a: Box, b: Box) -> bool:
    return b.x0 <= a.x0 and b.y0 <= a.y0 and a.x1 <= b.x1 and a.y1 <= b.y1


def flat(boxes: list[Box]) -> bool:
    return not any(nested(a, b) or nested(b, a) for a, b in combinations(boxes, 2))


@settings(max_examples=300, deadline=None)
@given(labels=LABELS)
def test_phrases_are_disjoint_and_have_the_most_boxes(labels: list[tuple[int, int, int]]) -> None:
    positions = unnested_phrases(labels)
    kept = [labels[n] for n in positions]
    assert positions == sorted(set(positions))
    assert disjoint(kept)
    best = max(
        (sum(b for *_, b in some), sum(e - s for s, e, _ in some))
        for count in range(len(labels) + 1)
        for some in combinations(labels, count)
        if disjoint(list(some))
    )
    assert (sum(b for *_, b in kept), sum(e - s for s, e, _ in kept)) == best


@settings(max_examples=300, deadline=None)
@given(boxes=BOXES)
def test_boxes_are_not_nested_and_as_many_as_can_be(boxes: list[Box]) -> None:
    positions = unnested_boxes(boxes)
    assert positions == sorted(set(positions))
    assert flat([boxes[n] for n in positions])
    most = max(count for count in range(len(boxes) + 1) for some in combinations(boxes, count) if flat(list(some)))
    assert len(positions) == most


def test_grits_own_example() -> None:
    # "a wire hanger with a paper cover that reads we heart our customers": two noun chunks, two referring expressions
    assert unnested_phrases([(19, 32, 1), (0, 13, 1), (19, 66, 1), (0, 66, 1)]) == [1, 2]


def test_more_boxes_win_over_more_phrases() -> None:
    assert unnested_phrases([(0, 20, 5), (0, 5, 1), (6, 10, 1)]) == [0]


def test_the_inner_boxes_stay_where_they_are_more() -> None:
    whole, left, right = Box(0, 0, 10, 10), Box(0, 0, 4, 10), Box(6, 0, 10, 10)
    assert unnested_boxes([whole, left, right]) == [1, 2]
    assert unnested_boxes([left, left]) == [0]
