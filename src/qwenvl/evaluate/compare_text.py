"""A comparison of two evaluations as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from qwenvl.evaluate.compare import Change, Comparison

_WIDTH = 100


def comparison_text(found: Sequence[Comparison], apart: Sequence[str], show: int) -> str:
    """A table of tasks, what stands between the two, and `show` samples a task whose score fell and that rose."""
    rows: list[Sequence[str]] = [("", "A", "B", "B − A", "95 %", "p", "better", "worse", "same", "test")]
    for one in found:
        rows.append(
            (
                one.task,
                *(f"{100 * value:.1f}" for value in (one.a, one.b)),
                f"{100 * one.difference:+.1f}",
                f"{100 * one.low:+.1f} … {100 * one.high:+.1f}",
                f"{one.p:.3f}" if one.p >= 0.001 else "<0.001",
                *(f"{count:,}" for count in (one.better, one.worse, one.n - one.better - one.worse)),
                one.test,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines.insert(1, "─" * max(map(len, lines)))
    for one in found:
        lines += _apart(one)
        lines += _shown(one, show)
    if apart:
        lines += ["", "not compared", *(f"  {line}" for line in apart)]
    return "\n".join(lines)


def _apart(one: Comparison) -> list[str]:
    """What makes the two numbers not alike."""
    lines = []
    if one.only_a or one.only_b or one.other_question:
        lines.append(
            f"left out: {one.only_a:,} samples only in A, {one.only_b:,} only in B, {one.other_question:,} with "
            "another prompt or target"
        )
    lines += [f"{key}: A {_short(str(a))}, B {_short(str(b))}" for key, (a, b) in one.protocol.items()]
    return ["", f"{one.task}: the two are not made alike", *(f"  {line}" for line in lines)] if lines else []


def _shown(one: Comparison, show: int) -> list[str]:
    fell = [change for change in one.changes if change.scores[1] < change.scores[0]][:show]
    rose = [change for change in reversed(one.changes) if change.scores[1] > change.scores[0]][:show]
    lines = []
    for name, changes in (("worse", fell), ("better", rose)):
        if changes:
            lines += ["", f"{one.task}: {name} in B", *(_change(change) for change in changes)]
    return lines


def _change(change: Change) -> str:
    (a, b), (before, after) = change.answers, change.scores
    target = " | ".join(dict.fromkeys(change.targets))
    return (
        f"  {change.id}  {100 * before:.0f} → {100 * after:.0f}  {_short(change.prompt)!r}: A {_short(a)!r}, "
        f"B {_short(b)!r}, right is {_short(target)!r}"
    )


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else "…" + text[-_WIDTH:]
