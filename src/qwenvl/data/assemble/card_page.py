"""`card.html`: the card of a corpus as a page, with lengths as histograms and drawn samples of every task."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from qwenvl.data.assemble.card_text import (
    SOURCES_NOTE,
    TASKS_NOTE,
    Cells,
    headline,
    left_out_rows,
    length_note,
    length_rows,
    source_rows,
    task_rows,
)
from qwenvl.data.assemble.statistics import EDGES
from qwenvl.data.clean.histogram import histogram
from qwenvl.page import page, table
from qwenvl.sample import Task


def card_page(card: Mapping[str, Any], samples: Mapping[Task, str]) -> str:
    """The page of a `summary`; `samples` are drawn samples of each task, as HTML."""
    left_out = left_out_rows(card)
    sections = [
        _STYLE,
        f"<p>{html.escape(card['about'])}</p>" if card["about"] else "",
        f"<p>{html.escape(headline(card))}</p>",
        f"<h2>Tasks</h2><p>{TASKS_NOTE}</p>",
        _table(task_rows(card), last=True),
        f"<h2>Sources</h2><p>{SOURCES_NOTE}</p>",
        _table(source_rows(card)),
        "<h2>What was left out</h2>" if left_out[1] else "",
        _table(left_out) + "<p>Record by record in <code>dropped.parquet</code>.</p>" if left_out[1] else "",
        f"<pre>{html.escape(chr(10).join(card['messages']))}</pre>" if card["messages"] else "",
        f"<h2>Lengths and packing</h2><p>{html.escape(length_note(card))}</p>",
        _table(length_rows(card)),
        f"<div class='plots'>{''.join(map(_plot, card['tasks']))}</div>",
        "<h2>Samples</h2><p><span class='supervised'>Blue</span> is supervised, black is not. Boxes are drawn from "
        "the tokens.</p>" if samples else "",
        *(_samples(task, drawn) for task, drawn in samples.items()),
    ]  # fmt: skip
    return page(card["name"], sections)


def _table(cells: Cells, last: bool = False) -> str:
    head, rows = cells
    styled = [
        ([html.escape(cell) for cell in row], "main" if last and number == len(rows) - 1 else "")
        for number, row in enumerate(rows)
    ]
    return f"<div class='wide'>{table([html.escape(cell) for cell in head], styled)}</div>"


def _plot(task: Mapping[str, Any]) -> str:
    if not task["measured"]:
        return ""
    return f"<figure>{histogram(EDGES, task['bins'], {})}<figcaption>{html.escape(task['name'])}</figcaption></figure>"


def _samples(task: Task, drawn: str) -> str:
    name = html.escape(task)
    return f"<h3>{name} <a href='samples/{name}.html'>more</a></h3><div class='drawn'>{drawn}</div>"


_STYLE = """<style>
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
.plots figure { margin: 0; }
figcaption { font-size: .8rem; color: #718096; }
.scores td:last-child { white-space: normal; }
.drawn { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: .8rem; }
article { border: 1px solid #e2e8f0; border-radius: 6px; padding: .4rem .8rem; }
article h2 { font-size: .78rem; color: #718096; border: 0; margin: .2rem 0; font-weight: 500; }
article figure { display: inline-block; margin: .2rem .6rem .2rem 0; }
article img { max-width: 100%; max-height: 300px; border-radius: 4px; }
p.tokens { white-space: pre-wrap; overflow-wrap: anywhere; color: #000; margin: .3rem 0; max-width: none; }
.supervised { color: #0645d8; }
.special { font-family: monospace; font-size: .85em; border: 1px solid currentColor; border-radius: 3px;
  padding: 0 2px; }
.image { background: #edf2f7; color: #4a5568; border-radius: 3px; padding: 0 4px; }
.misaligned { background: #e53e3e; color: #fff; }
</style>"""
