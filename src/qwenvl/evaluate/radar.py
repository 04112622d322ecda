"""The radar picture: our scores and the paper's on one axis for each benchmark, as in the paper's first figure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from qwenvl.evaluate import curves
from qwenvl.evaluate.beside import Row

FEWEST = 3
"""Axes below which a radar shows nothing."""


def radar(rows: Sequence[Row], name: str = "this model") -> bytes | None:
    """A PNG with an axis for each row that has a published number, from 0 to the best of the scores on it.

    None with fewer than three such rows. Raises ImportError without matplotlib.
    """
    shown = [row for row in rows if row.published is not None and row.score["value"] is not None]
    if len(shown) < FEWEST:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 6.6), layout="constrained")
    axes: Any = figure.add_subplot(projection="polar")  # typed as plain axes there
    angles = [2 * math.pi * i / len(shown) for i in range(len(shown))]
    ours = [row.score["value"] * row.full for row in shown]
    base = [row.published.base if row.published else None for row in shown]
    chat = [row.published.chat if row.published else None for row in shown]
    tops = [max(value or 0.0 for value in values) or 1.0 for values in zip(ours, base, chat, strict=True)]
    lines = ((name, ours, curves.COLOURS[0]), ("Qwen-VL", base, curves.COLOURS[1]), ("Qwen-VL-Chat", chat, "#2f855a"))
    for label, values, colour in lines:
        points = [value / top if value is not None else math.nan for value, top in zip(values, tops, strict=True)]
        if not all(map(math.isnan, points)):
            axes.plot(
                [*angles, angles[0]], [*points, points[0]], color=colour, linewidth=1.8, label=label, marker="o", ms=3
            )
    axes.fill(angles, [value / top for value, top in zip(ours, tops, strict=True)], color=curves.COLOURS[0], alpha=0.12)
    labels = [f"{row.name}\n{value:.4g}" for row, value in zip(shown, ours, strict=True)]
    axes.set_xticks(angles, labels, fontsize=8)
    axes.tick_params(axis="x", pad=14)
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "", "", ""])
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.grid(color="#cbd5e0", linewidth=0.5)
    axes.spines["polar"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()
