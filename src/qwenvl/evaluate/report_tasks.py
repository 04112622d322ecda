"""`report.html` of benchmarks: our rows beside the paper's with their protocols, categories, and drawn answers."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from qwenvl.evaluate.beside import Row, rows
from qwenvl.evaluate.gallery import gallery, heading
from qwenvl.evaluate.published import PUBLISHED, TABLES, Published
from qwenvl.evaluate.radar import radar
from qwenvl.evaluate.results import Result, read_results
from qwenvl.page import bar, data_uri, page, table

_HEADER = ("", "", "score", "95 %", "Qwen-VL", "Qwen-VL-Chat", "metric", "split", "items")

_IN_THE_ROW = ("task", "title", "split", "paper", "metrics")


def write_task_report(folder: Path, image_roots: Sequence[Path] = (), title: str = "qwenvl: evaluation") -> Path:
    """Write `folder/report.html` (and `radar.png` beside it) from the results in `folder`; gives the page's path.

    Pictures that answers name are shown where they lie below `image_roots` or `folder`, and only there. Raises
    ResultsError.
    """
    results = read_results(folder)
    found = rows(results)
    sections = [
        _beside(found),
        _radar(folder, found),
        _categories(results),
        *(_unreadable(result) for result in results),
        "<h2>Answers</h2><p>Solid: what the model points at. Dashed: the truth. Right and wrong answers are shown in "
        "about the share in which they occur.</p>",
        *(gallery(result, [folder, *image_roots]) for result in results),
    ]
    path = folder / "report.html"
    path.write_text(page(title, sections), encoding="utf-8")
    return path


def _beside(found: Sequence[Row]) -> str:
    out = [
        "<h2>Scores beside the paper's</h2><p>In the units of the benchmark: percent where none is named. The bracket "
        "on a bar is the 95 % interval, the dark line Qwen-VL (arXiv 2308.12966). Below each number is how it was "
        "made: another prompt, decoding or metric gives another number.</p>"
    ]
    tables = {id(row.result): row.published.table for row in reversed(found) if row.published}
    for name in (*TABLES, None):
        mine = [row for row in found if tables.get(id(row.result)) == name]
        if mine:
            shown = [line for _, one in groupby(mine, lambda row: id(row.result)) for line in _with_protocol(list(one))]
            out.append(
                f"<h3>{html.escape(name or 'Not in the paper')}</h3><div class='wide'>{table(_HEADER, shown)}</div>"
            )
    return "".join([*out, _missing(found)])


def _with_protocol(mine: Sequence[Row]) -> list[tuple[Sequence[str], str]]:
    """The rows of one result with its protocol below them."""
    return [*map(_row, mine), ((protocol(mine[0].result.protocol),), "note")]


def _row(row: Row) -> tuple[Sequence[str], str]:
    entry, score = row.published, row.score
    goal = entry and entry.base if entry and entry.base is not None else entry and entry.chat
    split = html.escape(row.result.split or "–")
    if entry and row.other_split:
        split += f'<br><span class="bad" title="the paper\'s numbers are of another split">paper: {entry.split}</span>'
    count = row.score["n"] if row.score["n"] is not None else row.result.items
    items = f"{count:,}"
    if row.result.whole not in (None, row.result.items):
        some = items if count == row.result.items else f"{items}; {row.result.items:,}"
        items = f'<span class="bad">{some} of {row.result.whole:,}</span>'
    return (
        html.escape(row.name),
        bar(score, goal / row.full if goal else None),
        f"<b>{units(score['value'], row.full)}</b>",
        f"{units(score['low'], row.full)}–{units(score['high'], row.full)}" if score["low"] is not None else "–",
        _published(entry, entry.base if entry else None),
        _published(entry, entry.chat if entry else None),
        html.escape(row.metric),
        split,
        items,
    ), ""


def units(value: float | None, full: float) -> str:
    """A score of 0…1 in a benchmark's units."""
    return "–" if value is None else f"{value * full:.1f}"


def _published(entry: Published | None, value: float | None) -> str:
    return "–" if entry is None or value is None else f"{value:g}"


def protocol(found: Mapping[str, Any]) -> str:
    """A protocol on one line, as HTML."""
    told = [(str(key), _plain(value)) for key, value in found.items() if key not in _IN_THE_ROW]
    if not told:
        return '<span class="bad">no protocol: nobody can say what this number means</span>'
    return " · ".join(f"{html.escape(key)} <code>{html.escape(value)}</code>" for key, value in told)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "–" if value is None else str(value).replace("\n", "⏎")


def _missing(found: Sequence[Row]) -> str:
    have = {row.published for row in found}
    left = [entry for entry in PUBLISHED if entry not in have]
    if not left:
        return ""
    lines = [
        (
            (
                html.escape(e.name),
                _published(e, e.base),
                _published(e, e.chat),
                e.metric,
                e.split,
                html.escape(e.table),
            ),
            "",
        )
        for e in left
    ]
    shown = table(("", "Qwen-VL", "Qwen-VL-Chat", "metric", "split", "where"), lines)
    return f"<details><summary>Not evaluated here: {len(left)} of {len(PUBLISHED)}</summary>{shown}</details>"


def _radar(folder: Path, found: Sequence[Row]) -> str:
    try:
        png = radar(found)
    except ImportError:
        return '<h2>Radar</h2><p>No picture: matplotlib is not installed (pip install "qwenvl[train]").</p>'
    if png is None:
        return ""
    (folder / "radar.png").write_bytes(png)
    return (
        "<h2>Radar</h2><p>Each axis runs from 0 to the best score on it; gaps are where the paper has no number.</p>"
        f'<img class="curve" alt="radar" src="{data_uri(png)}">'
    )


def _categories(results: Sequence[Result]) -> str:
    tables = [_by_category(result) for result in results]
    return f"<h2>By category</h2><div class='side'>{''.join(tables)}</div>" if any(tables) else ""


def _by_category(result: Result) -> str:
    """A row a category, or a row a metric where there are more of those."""
    metrics = [*dict.fromkeys(key for found in result.categories.values() for key in found if key != "n")]
    if not metrics:
        return ""
    values = {name: [units(found.get(metric), 100) for metric in metrics] for name, found in result.categories.items()}
    header: tuple[str, ...]
    if len(metrics) > len(values):
        header = (heading(result), *map(html.escape, values))
        lines = [((html.escape(m), *(own[i] for own in values.values())), "") for i, m in enumerate(metrics)]
    else:
        header = (heading(result), "", *map(html.escape, metrics), "items")
        lines = []
        for name, found in result.categories.items():
            first = found.get(metrics[0])
            shown = bar({"value": first, "low": first, "high": first}, None)
            lines.append(((html.escape(name), shown, *values[name], units(found.get("n"), 1).removesuffix(".0")), ""))
    return f"<div class='wide'>{table(header, lines)}</div>"


def _unreadable(result: Result) -> str:
    """The judge's replies that gave no scores: they stand in no mean, so that they are told."""
    found = result.unreadable
    if not found.get("of"):
        return ""
    why = ", ".join(f"{count} {html.escape(str(name))}" for name, count in dict(found.get("why") or {}).items())
    style = "bad" if found.get("count") else "good"
    out = (
        f"<h2>{heading(result)}: the judge's replies</h2><p><span class='{style}'>{found.get('count')} of "
        f"{found['of']} replies gave no scores</span>{f' ({why})' if why else ''}. They count in no mean.</p>"
    )
    rows = [
        ((html.escape(str(one.get("id"))), html.escape(str(one.get("why"))), html.escape(str(one.get("reply")))), "")
        for one in found.get("shown") or ()
    ]
    shown = f"<div class='wide'>{table(('item', 'why', 'reply'), rows)}</div>"
    return out + (f"<details><summary>As they came</summary>{shown}</details>" if rows else "")
