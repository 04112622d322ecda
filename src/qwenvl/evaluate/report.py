"""`report.html`: scores beside the goals, curves, timings and drawn answers in one file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from qwenvl.evaluate import curves
from qwenvl.evaluate.benchmarks import scenes
from qwenvl.evaluate.drawn import drawn, outlines
from qwenvl.evaluate.metrics.grounding import boxes_of
from qwenvl.evaluate.predict import Prediction, regions_of
from qwenvl.evaluate.run import Evaluation
from qwenvl.evaluate.score import correct
from qwenvl.page import bar, data_uri, duration, number, page, table
from qwenvl.sample import Image, Part, Region, Text

SHOWN = 8
"""Drawn answers of each task: as many right ones among them as the share of right ones is, so that the page does not
flatter."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    timings: Sequence[tuple[str, float]] = (),
    goals: Mapping[str, float] = scenes.GOALS,
    title: str = "qwenvl",
    model: Path | None = None,
) -> Path:
    """Write `folder/report.html` and beside it the curves as PNG; gives the page's path.

    `folder` may be a run's: its `metrics.jsonl` gives the curves and its `recipe.yaml` is shown; both may be missing.
    `timings` are (phase, seconds). Without matplotlib the page has no curves and says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        _scores(evaluation, goals),
        _answers(evaluation.predictions),
        _kinds(evaluation),
        _curves(folder),
        _timings(folder, timings),
        _settings(folder, evaluation, model),
    ]
    path = folder / "report.html"
    path.write_text(page(title, sections), encoding="utf-8")
    return path


def _scores(evaluation: Evaluation, goals: Mapping[str, float]) -> str:
    rows = []
    for metric, entry in evaluation.scores.items():
        whole, goal = entry["all"], goals.get(metric)
        seen, unseen = entry.get("seen"), entry.get("unseen")
        mark, style = "", ""
        if goal is not None:
            reached = (whole["value"] or 0) >= goal
            mark = f'<span class="{"good" if reached else "bad"}">{"✓" if reached else "✗"} {100 * goal:.0f}</span>'
            if seen and unseen and seen["value"] - unseen["value"] > scenes.GAP:
                style = "bad"
        cells = (
            *(html.escape(metric), bar(whole, goal), number(whole), mark, number(seen), number(unseen, style)),
            *(number(entry.get("en")), number(entry.get("zh")), str(whole["n"])),
        )
        rows.append((cells, "main" if goal is not None else ""))
    asked = evaluation.settings
    what = f"{asked['scenes']} {asked['split']} scenes, seed {asked['seed']}" if "scenes" in asked else "the records"
    return (
        f"<h2>Scores</h2><p>Greedy answers about {what}; percent. The dark line on a bar is the goal, the bracket the "
        "95 % interval. “Unseen” are colour–shape pairs that training never showed: by the thing asked about for "
        "referring, grounded_caption and attribute recall, by the scene for the rest. Red is an unseen score that is "
        f"more than {100 * scenes.GAP:.0f} points below the seen one.</p><div class='wide'>"
        + table(("", "", "score", "goal", "seen", "unseen", "en", "zh", "items"), rows)
        + "</div>"
    )


def _kinds(evaluation: Evaluation) -> str:
    kinds = evaluation.scores.get("vqa/accuracy", {}).get("kinds")
    if not kinds:
        return ""
    ordered = sorted(kinds.items(), key=lambda pair: -(pair[1]["value"] or 0))
    rows = [((html.escape(kind), bar(score, None), number(score), str(score["n"])), "") for kind, score in ordered]
    return "<h2>Questions by kind</h2>" + table(("", "", "accuracy", "items"), rows)


def _answers(predictions: Sequence[Prediction]) -> str:
    out = [
        "<h2>Answers</h2><p>Solid: what the model points at. Dashed: the truth. "
        "Right and wrong answers are shown in about the share in which they occur.</p>"
    ]
    for task in dict.fromkeys(prediction.item.task for prediction in predictions):
        mine = [prediction for prediction in predictions if prediction.item.task == task]
        cards = "".join(map(_card, chosen(mine)))
        if cards:
            out.append(f"<h3>{task}</h3><div class='cards'>{cards}</div>")
    return "".join(out) if len(out) > 1 else ""


def chosen(predictions: Sequence[Prediction], count: int = SHOWN) -> list[Prediction]:
    """`count` predictions, right and wrong in the proportion of all, wrong ones last. Deterministic."""
    right = [p for p in predictions if correct(p)]
    wrong = [p for p in predictions if not correct(p)]
    if not predictions:
        return []
    good = max(round(count * len(right) / len(predictions)), count - len(wrong))
    return [*_spread(right, good), *_spread(wrong, count - good)]


def _spread(predictions: Sequence[Prediction], count: int) -> list[Prediction]:
    """Evenly spaced ones in an order that mixes languages and lengths."""
    ordered = sorted(predictions, key=lambda p: p.item.sample.id[::-1])
    return [ordered[i * len(ordered) // count] for i in range(min(count, len(ordered)))]


def _card(prediction: Prediction) -> str:
    item = prediction.item
    right = correct(prediction)
    pictures = "".join(_picture(image, i, prediction) for i, image in enumerate(item.sample.images))
    badge = '<span class="badge">unseen</span>' if item.unseen else ""
    truth = "" if right else f"<div class='truth'>{_marked(item.truth)}</div>"
    return (
        f'<div class="card {"right" if right else "wrong"}"><div class="pictures">{pictures}</div>'
        f"<div class='question'>{html.escape(item.question)}{badge}</div>"
        f"<div class='answer'><span class='tick'>{'✓' if right else '✗'}</span> {_marked(prediction.parts)}</div>"
        f"{truth}</div>"
    )


def _picture(image: Image, number: int, prediction: Prediction) -> str:
    said = outlines(prediction.regions, number, "said")
    true = outlines(regions_of(prediction.item.truth), number, "true")
    asked = ""
    if prediction.item.task == "grounded_caption":
        asked = outlines(regions_of(prediction.item.sample.parts), number, "asked")
    return drawn(image, f"{asked}{said}{true}")


def _marked(parts: Sequence[Part]) -> str:
    """Parts as HTML: grounded phrases in the colour of their outline, with their pixels."""
    out = []
    count = 0
    for part in parts:
        if isinstance(part, Text):
            out.append(html.escape(part.text))
        elif isinstance(part, Region):
            colour = curves.COLOURS[count % len(curves.COLOURS)]
            count += 1
            pixels = "; ".join(f"{b.x0:.0f},{b.y0:.0f}–{b.x1:.0f},{b.y1:.0f}" for b in boxes_of(part))
            out.append(f'<b style="color:{colour}">{html.escape(part.phrase or "")}</b><small> {pixels}</small>')
    return "".join(out).strip() or "<i>nothing</i>"


def _curves(folder: Path) -> str:
    try:
        paths = curves.write_curves(folder)
    except ImportError:
        return '<h2>Training</h2><p>No curves: matplotlib is not installed (pip install "qwenvl[train]").</p>'
    shown = [f'<img class="curve" alt="{path.stem}" src="{data_uri(path.read_bytes())}">' for path in paths]
    return "<h2>Training</h2>" + "".join(shown) if shown else ""


def _timings(folder: Path, timings: Sequence[tuple[str, float]]) -> str:
    tables = []
    rows = []
    lines = curves.read_metrics(folder / "metrics.jsonl")
    for stage, begin, end in curves.stage_bounds(lines):
        mine = [line for line in lines if line["stage"] == stage]
        speed = _mean([float(line["samples_per_s"]) for line in mine if "samples_per_s" in line], ".0f")
        padding = _mean([100 * float(line["padding"]) for line in mine if "padding" in line], ".1f")
        loss = _mean([float(line["loss"]) for line in mine[-1:] if "loss" in line], ".3f")
        cells = (html.escape(stage), duration(60 * (end - begin)), str(mine[-1]["step"]), speed, padding, loss)
        rows.append((cells, ""))
    if rows:
        tables.append(table(("stage", "time", "steps", "samples/s", "padding %", "last loss"), rows))
    if timings:
        phases = [((html.escape(name), duration(seconds)), "") for name, seconds in timings]
        total = ("all", duration(sum(seconds for _, seconds in timings)))
        tables.append(table(("phase", "time"), [*phases, (total, "main")]))
    return f"<h2>Time</h2><div class='side'>{''.join(tables)}</div>" if tables else ""


def _mean(values: Sequence[float], form: str) -> str:
    return format(sum(values) / len(values), form) if values else "–"


def _settings(folder: Path, evaluation: Evaluation, model: Path | None) -> str:
    source = f" from <code>{html.escape(str(model))}</code>" if model else ""
    out = f"<h2>How it was made</h2><p>Evaluated in {duration(evaluation.seconds)}{source}.</p>"
    recipe = folder / "recipe.yaml"
    if recipe.is_file():
        text = html.escape(recipe.read_text(encoding="utf-8"))
        out += f"<details><summary>The recipe</summary><pre>{text}</pre></details>"
    return out
