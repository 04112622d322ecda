"""A histogram with thresholds as inline SVG: what lies beyond them is red."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 336, 120
_BASE = 96  # where bars stand; labels below
_TOP = 14
_LEFT = 8


def histogram(edges: Sequence[float], counts: Sequence[int], thresholds: Mapping[str, float]) -> str:
    """Bars of `counts` (below the first of `edges`, between each two, above the last) and lines at `thresholds`.

    Bars are of equal width whatever their bins' are. Empty bins at both ends that no threshold lies in are left out. A
    bin is red if it lies beyond "min" or "max" whole. Heights go by the square root, so that rare values can be seen.
    """
    first, last = _shown(edges, counts, thresholds)
    bins = list(range(first, last + 1))
    step = (WIDTH - 2 * _LEFT) / len(bins)
    peak = max(counts)
    out = [f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="9" fill="#4a5568">']
    for place, index in enumerate(bins):
        if not counts[index]:
            continue
        tall = max(1.5, (_BASE - _TOP) * (counts[index] / peak) ** 0.5)
        low = _format(edges[index - 1]) if index else "less"
        high = _format(edges[index]) if index < len(edges) else "more"
        out.append(
            f'<rect x="{_LEFT + place * step:.1f}" y="{_BASE - tall:.1f}" width="{max(step - 0.6, 0.6):.1f}" '
            f'height="{tall:.1f}" fill="{_colour(edges, index, thresholds)}">'
            f"<title>{low} … {high}: {counts[index]:,}</title></rect>"
        )
    out.append(f'<path d="M{_LEFT} {_BASE + 0.5}H{WIDTH - _LEFT}" stroke="#a0aec0"/>')
    for text, x in _ticks(edges, bins, step):
        out.append(f'<text x="{x:.1f}" y="{_BASE + 11}" text-anchor="middle">{text}</text>')
    for name, value in sorted(thresholds.items()):
        x = min(max(_LEFT + _position(edges, value, first) * step, _LEFT), WIDTH - _LEFT)
        side = "start" if x < WIDTH / 2 else "end"
        out.append(
            f'<path d="M{x:.1f} {_TOP - 3}V{_BASE}" stroke="#1a202c" stroke-width="1.5"/>'
            f'<text x="{x:.1f}" y="9" text-anchor="{side}" fill="#1a202c">{html.escape(name)} {_format(value)}</text>'
        )
    return "".join(out) + "</svg>"


def _shown(edges: Sequence[float], counts: Sequence[int], thresholds: Mapping[str, float]) -> tuple[int, int]:
    """The first and the last bin to draw."""
    wanted = [index for index, count in enumerate(counts) if count]
    wanted += [int(_position(edges, value, 0)) for value in thresholds.values()]
    first, last = max(0, min(wanted) - 1), min(len(edges), max(wanted) + 1)
    # the end bins are without end: drawn where something is in them
    return (first if first or counts[0] else 1), (last if last < len(edges) or counts[-1] else len(edges) - 1)


def _position(edges: Sequence[float], value: float, first: int) -> float:
    """Where a value lies, in bins from bin `first` on; bin i ends at edges[i]."""
    if value < edges[0]:
        return 0.5 - first
    for index in range(1, len(edges)):
        low, high = edges[index - 1], edges[index]
        if value < high:
            return index - first + (value - low) / (high - low)
    return len(edges) - first + (0.0 if value == edges[-1] else 0.5)


def _colour(edges: Sequence[float], index: int, thresholds: Mapping[str, float]) -> str:
    low, high = thresholds.get("min"), thresholds.get("max")
    if low is not None and index < len(edges) and edges[index] <= low:
        return "#e53e3e"
    if high is not None and index and edges[index - 1] > high:
        return "#e53e3e"
    return "#a0aec0" if index in (0, len(edges)) else "#4299e1"


def _ticks(edges: Sequence[float], bins: Sequence[int], step: float) -> list[tuple[str, float]]:
    """About five edges with their places."""
    inner = [index for index in bins if index < len(edges)]
    every = max(1, round(len(inner) / 5))
    return [(_format(edges[index]), _LEFT + (index - bins[0] + 1) * step) for index in inner[every - 1 :: every]]


def _format(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.3g}"
