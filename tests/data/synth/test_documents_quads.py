"""Quads against ink: what is drawn of a line lies in its quad, fills it, and is read back through the inverse warp."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

pytest.importorskip("cv2")
pytest.importorskip("fontTools")
pytest.importorskip("brotli")

import cv2
import numpy as np

from qwenvl.data.synth.documents_draw import _seen, readable, stamp
from qwenvl.data.synth.documents_fonts import find_fonts
from qwenvl.data.synth.documents_layout import LAYOUTS, downwards
from qwenvl.data.synth.documents_setting import Line
from qwenvl.data.synth.documents_sheet import Sheet
from qwenvl.data.synth.documents_text import Sentences
from qwenvl.data.synth.documents_warp import Warp, between

FACES = find_fonts(system=False)


def page(layout: Callable[[Sheet], None], seed: int, size: tuple[int, int] = (620, 800)) -> Sheet:
    language = "zh" if layout is downwards or seed % 2 else "en"
    faces = [face for face in FACES if language in face.languages]
    sheet = Sheet(random.Random(seed), Sentences(), language, faces, faces, *size, 12, Counter())
    layout(sheet)
    return sheet


def bent(size: tuple[int, int]) -> Warp:
    """A strong perspective and a strong bend."""
    width, height = size
    corners = np.array([[40.0, 25], [width - 10, 60], [width - 70, height - 20], [15, height - 90]])
    return Warp(size, between(size, corners, size), (0.015 * height, 1.1 * width, 0.7))


def polygon(quad: np.ndarray, size: tuple[int, int], widen: int = 1) -> np.ndarray:
    """The pixels of a quad, [height, width], and those up to `widen` pixels beside it."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [np.round((quad - 0.5) * 16).astype(np.int32)], 255, shift=4)
    return cv2.dilate(mask, np.ones((2 * widen + 1, 2 * widen + 1), np.uint8)) > 0


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("seed", [0, 1])
def test_ink_is_in_the_quad_and_touches_its_sides(layout: Callable[[Sheet], None], seed: int) -> None:
    sheet = page(layout, seed)
    size = (sheet.width, sheet.height)
    warp = bent(size)
    kept, quads = readable(sheet.lines, size, warp, 9, Counter())
    assert kept
    for line, quad in list(zip(kept, quads, strict=True))[:: max(1, len(kept) // 12)]:
        drawn = warp.apply(stamp([line], size))
        ink = drawn > 96
        within = polygon(quad, size)
        assert ink.sum() > 0.03 * within.sum(), line.text
        assert not (ink & ~within).any(), line.text
        # in the quad's own frame the ink reaches all four sides, but for what the bend takes of the upper and lower
        wide, high = (line.box[2] - line.box[0]), (line.box[3] - line.box[1])
        flat = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
        matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), flat)
        # a full stop may be faint after it was shrunk
        square = cv2.warpPerspective(drawn, matrix, (wide, high)) > 32
        rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
        assert columns[0] <= 3 and columns[-1] >= wide - 4, line.text
        assert rows[0] <= 3 + 0.2 * high and rows[-1] >= high - 4 - 0.2 * high, line.text


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_no_ink_is_without_a_quad(layout: Callable[[Sheet], None]) -> None:
    sheet = page(layout, 3)
    size = (sheet.width, sheet.height)
    warp = bent(size)
    kept, quads = readable(sheet.lines, size, warp, 9, Counter())
    covered = np.zeros((size[1], size[0]), bool)
    for quad in quads:
        covered |= polygon(quad, size)
    ink = warp.apply(stamp(kept, size)) > 96
    assert ink.any() and not (ink & ~covered).any()


def test_points_go_there_and_back() -> None:
    warp = bent((640, 480))
    points = np.random.default_rng(0).uniform(0, 480, (200, 2))
    assert np.abs(warp.inverse(warp.forward(points)) - points).max() < 1e-6


def test_the_inverse_warp_reads_the_line_back() -> None:
    """Pixels sampled where the warp says a line went are those that were drawn."""
    sheet = page(next(iter(LAYOUTS)), 4)
    size = (sheet.width, sheet.height)
    warp = bent(size)
    kept, _ = readable(sheet.lines, size, warp, 9, Counter())
    drawn = stamp(kept, size)
    picture = warp.apply(drawn)
    for line in kept[::5]:
        x0, y0, x1, y1 = line.box
        xs, ys = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        there = warp.forward(np.stack([xs.ravel(), ys.ravel()], axis=1)) - 0.5
        maps = there.reshape(*xs.shape, 2).astype(np.float32)
        back = cv2.remap(picture, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC)
        same = np.corrcoef(back.ravel(), drawn[y0:y1, x0:x1].ravel())[0, 1]
        moved = np.corrcoef(back[:, 2:].ravel(), drawn[y0:y1, x0 : x1 - 2].ravel())[0, 1]
        assert same > 0.9 and same > moved + 0.2, (line.text, same, moved)


def test_nothing_too_small_or_cut_off_is_kept() -> None:
    sheet = page(next(iter(LAYOUTS)), 5)
    size = (sheet.width, sheet.height)
    half = Warp((size[0] // 2, size[1] // 2), np.diag([0.5, 0.5, 1.0]))
    dropped: Counter[str] = Counter()
    kept, _ = readable(sheet.lines, size, half, 12, dropped)
    assert dropped["line: too small to read"] == len(sheet.lines) - len(kept) > 0
    assert all(line.size >= 24 for line in kept)
    aside = Warp(size, np.array([[1.0, 0, size[0] / 2], [0, 1, 0], [0, 0, 1]]))
    dropped.clear()
    kept, quads = readable(sheet.lines, size, aside, 9, dropped)
    assert dropped["line: not whole in the picture"] == len(sheet.lines) - len(kept) > 0
    assert all(quad.max(axis=0)[0] <= size[0] for quad in quads)


@pytest.mark.parametrize("view", ["flat", "scan", "photo", "over"])
def test_views_keep_their_page_in_reach(view: str) -> None:
    """Whatever is drawn for a view, the middle of the page is in the picture."""
    for seed in range(40):
        size, warp = _seen(random.Random(seed), view, (500, 700))
        (x, y) = warp.forward(np.array([[size[0] / 2, size[1] / 2]]))[0]
        assert 100 < x < 400 and 150 < y < 550


def test_lines_do_not_overlap() -> None:
    """In every layout; a line's box is its ink's."""
    for seed in range(12):
        for layout in LAYOUTS:
            lines = page(layout, seed).lines
            for number, one in enumerate(lines):
                for other in lines[:number]:
                    assert overlap(one, other) < 0.35, (layout.__name__, seed, one.text, other.text)


def overlap(one: Line, other: Line) -> float:
    """The shared area by that of the smaller box: descenders may reach into the next line."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.box, other.box
    shared = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
    return shared / min((a1 - a0) * (b1 - b0), (c1 - c0) * (d1 - d0))
