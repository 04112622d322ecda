"""Pixels ⇄ the grid of 1000 cells: properties of the round trips."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.sample import Box, Quad
from qwenvl.text import geometry as g

SIDES = st.integers(1, 100_000)
CELLS = st.integers(0, 999)


@given(SIDES, st.floats(0, 1))
def test_pixel_round_trip_moves_at_most_half_a_cell(side: int, share: float) -> None:
    x = share * side
    assert abs(g.from_grid(g.to_grid(x, side), side) - x) <= side / 2000 * (1 + 1e-9) + 1e-9


@given(CELLS, st.floats(0.01, 1e6))
def test_cell_round_trip_is_exact(cell: int, side: float) -> None:
    assert g.to_grid(g.from_grid(cell, side), side) == cell


@given(st.floats(allow_nan=False, allow_infinity=False), SIDES)
def test_every_finite_coordinate_has_a_cell(x: float, side: int) -> None:
    assert 0 <= g.to_grid(x, side) <= 999


@given(SIDES, st.floats(-10, 1e5), st.floats(0, 1e5))
def test_order_is_kept(side: int, x: float, more: float) -> None:
    assert g.to_grid(x, side) <= g.to_grid(x + more, side)


@given(st.tuples(CELLS, CELLS, CELLS, CELLS), SIDES, SIDES)
def test_box_cells_round_trip(cells: tuple[int, int, int, int], width: int, height: int) -> None:
    assert g.box_to_grid(g.box_from_grid(cells, width, height), width, height) == cells


@given(st.tuples(*[CELLS] * 8), SIDES, SIDES)
def test_quad_cells_round_trip(cells: tuple[int, ...], width: int, height: int) -> None:
    assert g.quad_to_grid(g.quad_from_grid(cells, width, height), width, height) == cells


def test_known_values() -> None:
    assert [g.to_grid(x, 200) for x in (0, 0.19, 0.2, 100, 199.9, 200, 250, -3)] == [0, 0, 1, 500, 999, 999, 999, 0]
    assert g.box_to_grid(Box(0, 0, 640, 480), 640, 480) == (0, 0, 999, 999)
    assert g.from_grid(0, 1000) == 0.5
    quad = Quad(((0, 0), (10, 0), (10, 20), (0, 20)))
    assert g.quad_to_grid(quad, 100, 100) == (0, 0, 100, 0, 100, 200, 0, 200)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        g.to_grid(value, 10)


@pytest.mark.parametrize("side", [0, -1, math.nan])
def test_no_side_is_an_error(side: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        g.to_grid(1, side)


def test_iou() -> None:
    a = Box(0, 0, 10, 10)
    assert g.iou(a, a) == 1
    assert g.iou(a, Box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert g.iou(a, Box(10, 10, 20, 20)) == 0
    assert g.iou(Box(3, 3, 3, 3), Box(3, 3, 3, 3)) == 0
    assert g.iou(a, Box(8, 8, 2, 2)) == 0


@given(*[st.tuples(*[st.floats(-100, 100)] * 4)] * 2)
def test_iou_is_symmetric_and_bounded(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    one, other = Box(*a), Box(*b)
    assert 0 <= g.iou(one, other) <= 1 + 1e-9
    assert g.iou(one, other) == pytest.approx(g.iou(other, one))
