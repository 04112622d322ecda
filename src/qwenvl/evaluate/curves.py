"""Curves of a run as pictures, read from its `metrics.jsonl`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#b83280", "#6b46c1", "#b7791f", "#0987a0", "#718096", "#1a202c", "#9b2c2c")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The logged lines of a run in order; none when the file is not there. A line cut off by a kill is left out."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "step" in line and "stage" in line:
            lines.append(line)
    return lines


def running(lines: Sequence[Line]) -> list[tuple[float, Line]]:
    """Each line with its minute, counted over all stages; by `elapsed_s`, which covers the whole run."""
    return [(float(line.get("elapsed_s", 0)) / 60, line) for line in lines]


def stage_bounds(lines: Sequence[Line]) -> list[tuple[str, float, float]]:
    """(stage, first minute, last minute) in the order of the run."""
    bounds: dict[str, list[float]] = {}
    last = 0.0
    for minute, line in running(lines):
        bounds.setdefault(str(line["stage"]), [last, minute])[1] = minute
        last = minute
    return [(stage, begin, end) for stage, (begin, end) in bounds.items()]


def figures(lines: Sequence[Line]) -> dict[str, bytes]:
    """Name → PNG: the loss, the loss of each task, and the other numbers of a run that are there, a panel each.

    Raises ImportError without matplotlib.
    """
    loss, axes = _figure(8.4, 3.1)
    _loss(axes, lines)
    tasks, axes = _figure(8.4, 3.4)
    _group(axes, lines, "loss/", "loss per task", log=True)
    made = {"loss": _png(loss), "loss-per-task": _png(tasks)}
    panels = [panel for panel in _PANELS if any(key.startswith(panel[0]) for line in lines for key in line)]
    if panels:
        rest, grid = _panels(len(panels))
        for axes, (prefix, label, scale, log) in zip(grid, panels, strict=True):
            _group(axes, lines, prefix, label, scale, log)
        made["curves"] = _png(rest)
    return made


def write_curves(folder: Path) -> list[Path]:
    """Draw the figures of a run into its folder, from its `metrics.jsonl`; none before the second line.

    Raises ImportError without matplotlib.
    """
    lines = read_metrics(folder / "metrics.jsonl")
    if sum("loss" in line for line in lines) < 2:
        return []
    paths = []
    for name, png in figures(lines).items():
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(png)
    return paths


_HELD = "eval/"

_PANELS: tuple[tuple[str, str, float, bool], ...] = (
    (_HELD, "held-out scores", 1.0, False),
    ("grad_norm", "gradient norm", 1.0, True),
    ("rate", "learning rate", 1.0, True),
    ("samples_per_s", "samples/s", 1.0, False),
    ("mfu", "MFU, %", 100.0, False),
    ("data_wait", "waiting for data, %", 100.0, False),
    ("padding", "padding, %", 100.0, False),
    ("memory_gb", "memory, GB", 1.0, False),
)
"""Beginning of the keys, what stands at the axis, factor, whether the axis is logarithmic."""


def _loss(axes: Any, lines: Sequence[Line]) -> None:
    shown = [(minute, float(line["loss"])) for minute, line in running(lines) if "loss" in line]
    axes.plot(*zip(*shown, strict=True), color=COLOURS[0], linewidth=0.8, alpha=0.35)
    axes.plot(*zip(*_smooth(shown), strict=True), color=COLOURS[0], linewidth=1.8)
    _dress(axes, lines, "loss (nats per supervised token)")


def _group(axes: Any, lines: Sequence[Line], prefix: str, label: str, scale: float = 1.0, log: bool = False) -> None:
    """The keys with a prefix, a line each."""
    keys = sorted({key for line in lines for key in line if key.startswith(prefix)})
    highest = max(scale * float(line[key]) for line in lines for key in keys if key in line)
    for i, key in enumerate(keys):
        name = key.removeprefix(prefix).strip("/_") or "all"
        # stage by stage: a line across a stage that does not have the number would say what nobody measured
        for stage, _, _ in stage_bounds(lines):
            mine = [(at, line[key]) for at, line in running(lines) if key in line and line["stage"] == stage]
            shown = [(at, scale * float(value)) for at, value in mine]
            if shown:
                points = zip(*(shown if prefix == _HELD else _smooth(shown)), strict=True)
                style = {"marker": "o", "markersize": 3} if prefix == _HELD else {}
                axes.plot(*points, color=COLOURS[i % len(COLOURS)], linewidth=1.5, label=name, **style)
                name = ""
    _dress(axes, lines, label, log=log)
    if not log:
        axes.set_ylim(0, 1.1 * highest or 1.0)
    if len(keys) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize=8)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _panels(count: int) -> tuple[Any, list[Any]]:
    """A figure and its axes, below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 1.9 * count), layout="constrained")
    return figure, list(figure.subplots(count, squeeze=False)[:, 0])


def _dress(axes: Any, lines: Sequence[Line], label: str, log: bool = True) -> None:
    for i, (stage, begin, end) in enumerate(stage_bounds(lines)):
        axes.axvspan(begin, end, color="#edf2f7" if i % 2 == 0 else "#ffffff", zorder=0)
        # Between the axes' own top and the plot, so that a curve never crosses it.
        axes.text(
            (begin + end) / 2,
            1.02,
            stage,
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=8,
            color="#4a5568",
        )
    if log:
        axes.set_yscale("log")
        _plain_ticks(axes)
    axes.set_xlabel("minutes of training", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0)
    axes.grid(axis="y", color="#cbd5e0", linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain_ticks(axes: Any) -> None:
    """A log axis with readable numbers (0.2, 0.5, 1, 2) instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _smooth(points: Sequence[tuple[float, float]], weight: float = 0.7) -> list[tuple[float, float]]:
    """An exponential average that does not lag at the start."""
    total, scale = 0.0, 0.0
    result = []
    for x, y in points:
        total, scale = weight * total + (1 - weight) * y, weight * scale + (1 - weight)
        result.append((x, total / scale))
    return result


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()
