"""From answers to a task's result: every metric with its interval, by category too, and each answer's own score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark
from qwenvl.evaluate.metrics import stats


@dataclass(frozen=True)
class Tally:
    """`scores`: metric → value, low, high, n. `categories`: name → metric → value. `each`: an answer's score by the
    first metric, None where it has none.
    """

    scores: dict[str, dict[str, float | int | None]]
    categories: dict[str, dict[str, float]]
    each: list[float | None]


def tally(benchmark: Benchmark, answers: Sequence[Answer]) -> Tally:
    """Score answers; those whose true answers the split keeps back are not counted."""
    known = [answer for answer in answers if answer.item.answers or answer.item.box is not None]
    values: dict[str, Sequence[float]] = {
        name: [metric(answer) for answer in known] for name, metric in benchmark.each.items()
    }
    totals: dict[str, float] = {}
    for name, whole in benchmark.whole.items() if known else ():
        found = whole(known)
        if isinstance(found, Mapping):
            totals |= found
        else:
            values[name] = [float(value) for value in found]
    scores = {name: _score(of).as_dict() for name, of in values.items()}
    scores |= {name: {"value": round(of, 5), "low": None, "high": None, "n": len(known)} for name, of in totals.items()}
    main = next(iter(values.values()), None)
    own: dict[int, float] = {} if main is None else {id(a): v for a, v in zip(known, main, strict=True)}
    return Tally(scores, _categories(known, values), [own.get(id(answer)) for answer in answers])


def _score(values: Sequence[float]) -> stats.Score:
    if all(value in (0, 1) for value in values):
        return stats.share([int(value) for value in values])
    return stats.mean(values)


def _categories(answers: Sequence[Answer], values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    rows: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        if answer.item.category:
            rows.setdefault(answer.item.category, []).append(number)
    return {
        name: {metric: round(sum(of[i] for i in chosen) / len(chosen), 5) for metric, of in values.items()}
        | {"n": len(chosen)}
        for name, chosen in sorted(rows.items())
    }


def row_of(benchmark: Benchmark, answer: Answer, score: float | None, kept: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `answers.jsonl`: id, prompt, answer, targets, score, category, image, boxes, and what was `kept` when
    the answer was made.
    """
    item = answer.item
    row: dict[str, Any] = {
        "id": item.id,
        "prompt": item.prompt,
        "answer": answer.text,
        "targets": list(item.answers),
        "score": None if score is None else round(score, 5),
        "category": item.category or None,
        "image": kept.get("image"),
    }
    if answer.size:
        row["size"] = list(answer.size)
    if "losses" in kept:
        row["losses"] = kept["losses"]
    if item.box is not None:
        row["boxes"] = boxes_of(answer)
    return row


def boxes_of(answer: Answer) -> dict[str, list[float] | None]:
    """The true and the found box of a referring answer, [x0, y0, x1, y1] in pixels of the picture."""
    from qwenvl.evaluate.benchmarks.refcoco import first_box

    true = answer.item.box
    size = answer.item.entry.size if answer.item.entry and answer.item.entry.size else answer.size
    found = first_box(answer.text, size) if size else None
    return {
        "true": None if true is None else [true.x0, true.y0, true.x1, true.y1],
        "found": None if found is None else [round(v, 2) for v in (found.x0, found.y0, found.x1, found.y1)],
    }
