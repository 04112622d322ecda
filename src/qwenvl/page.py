"""The look of reports: the page around them, its style, and small pieces of HTML."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwenvl.assets.fonts import FONT_PATH


def page(title: str, sections: Sequence[str]) -> str:
    """A whole HTML page that loads nothing from outside. `sections` are HTML; `title` is plain text."""
    safe = html.escape(title)
    body = "\n".join(section for section in sections if section)
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe}</title><style>{_font_face(body)}{_STYLE}</style></head>\n"
        f"<body><h1>{safe}</h1>\n"
    )
    return f"{head}{body}\n</body></html>\n"


def _font_face(text: str) -> str:
    """The Chinese characters of `text` from the bundled font, for machines without one; nothing without fontTools."""
    characters = "".join(sorted(set(re.findall(r"[\u2e80-\u9fff\uff00-\uffef]", text))))
    if not characters:
        return ""
    try:
        from fontTools import subset
    except ImportError:  # it comes with matplotlib, in the extra `train`
        return ""
    font = subset.load_font(str(FONT_PATH), subset.Options())
    chosen = subset.Subsetter(subset.Options(layout_features=[], hinting=False, name_IDs=[]))
    chosen.populate(text=characters)
    chosen.subset(font)
    buffer = io.BytesIO()
    font.save(buffer)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'@font-face {{ font-family: "bundled"; src: url("data:font/otf;base64,{data}"); }}\n'


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def table(header: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    """Rows of (HTML cells, CSS class); the first cell of a row is its name. A row of one cell spans the table."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f'<tr class="{style}">{_cells(cells, len(header))}</tr>' for cells, style in rows)
    return f"<table class='scores'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(cells: Sequence[str], columns: int) -> str:
    if len(cells) == 1 < columns:
        return f"<td colspan='{columns}'>{cells[0]}</td>"
    return f"<th>{cells[0]}</th>{''.join(f'<td>{cell}</td>' for cell in cells[1:])}"


def bar(score: Mapping[str, Any], goal: float | None) -> str:
    """A horizontal bar from 0 to 100 with the interval as a bracket and the goal as a line; green where reached."""
    value, low, high = (200 * (score[key] or 0) for key in ("value", "low", "high"))
    colour = "#a0aec0" if goal is None else "#38a169" if value >= 200 * goal else "#dd6b20"
    line = ""
    if goal is not None:
        line = f'<path d="M{200 * goal:.1f} 0V16" stroke="#1a202c" stroke-width="2"/>'
    return (
        '<svg width="200" height="16" viewBox="0 0 200 16"><rect width="200" height="16" rx="3" fill="#edf2f7"/>'
        f'<rect width="{value:.1f}" height="16" rx="3" fill="{colour}"/>'
        f'<path d="M{low:.1f} 5v6M{low:.1f} 8H{high:.1f}M{high:.1f} 5v6" stroke="#2d3748" fill="none"/>{line}</svg>'
    )


def number(score: Mapping[str, Any] | None, style: str = "") -> str:
    """A score in percent; its interval and number of items show under the mouse."""
    if not score or score["value"] is None:
        return "–"
    hint = f"{100 * score['low']:.1f}–{100 * score['high']:.1f} (95 %), {score['n']} items"
    return f'<span class="{style}" title="{hint}">{100 * score["value"]:.1f}</span>'


def duration(seconds: float) -> str:
    """ "12.3 s" or "4 min 5 s"."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


_STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
  "bundled", sans-serif;
  color: #1a202c; max-width: 1080px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem; border-bottom: 1px solid #e2e8f0; }
h3 { margin: 1.2rem 0 .4rem; font-size: 1rem; color: #4a5568; }
p { color: #4a5568; max-width: 52rem; }
.scores { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.scores th, .scores td { padding: .22rem .7rem; text-align: right; border-bottom: 1px solid #edf2f7;
  white-space: nowrap; }
.scores tbody th { text-align: left; font-weight: 500; }
.scores thead th { color: #718096; font-size: .85rem; font-weight: 500; }
.scores tr.main th, .scores tr.main td { font-weight: 650; }
.scores tr.note td { text-align: left; white-space: normal; overflow-wrap: anywhere; font-size: .74rem; color: #718096;
  padding-bottom: .5rem; }
.scores tr.note code { color: #4a5568; }
.scores svg { display: block; }
.wide { overflow-x: auto; }
.good { color: #2f855a; }
.bad { color: #c53030; }
.side { display: flex; gap: 1.5rem 3rem; flex-wrap: wrap; align-items: flex-start; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: .8rem; }
.card { border: 1px solid #e2e8f0; border-top: 3px solid #38a169; border-radius: 6px; padding: .6rem; font-size: .85rem;
  overflow-wrap: anywhere; }
.card.wrong { border-top-color: #e53e3e; }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; justify-content: center; }
.picture { border-radius: 4px; max-width: 100%; }
.question { color: #4a5568; margin-top: .4rem; }
.answer { margin-top: .2rem; }
.truth { color: #4a5568; margin-top: .3rem; padding-top: .2rem; border-top: 1px dashed #cbd5e0; }
.tick { font-weight: 700; color: #2f855a; }
.wrong .tick { color: #c53030; }
small { color: #a0aec0; font-size: .72rem; }
.badge { background: #ebf4ff; color: #2b6cb0; border-radius: 3px; padding: 0 .35rem; margin-left: .4rem;
  font-size: .72rem; }
svg .said, svg .true, svg .asked { fill: none; vector-effect: non-scaling-stroke; stroke-width: 2px; }
svg .halo { fill: none; vector-effect: non-scaling-stroke; stroke: #fff; stroke-width: 4px; opacity: .75; }
svg .true { stroke: #1a202c; stroke-dasharray: 4 3; stroke-width: 1.5px; }
svg .asked { stroke: #d53f8c; }
.curve { width: 100%; max-width: 860px; display: block; }
pre { background: #f7fafc; padding: 1rem; overflow-x: auto; font-size: .8rem; }
summary { cursor: pointer; color: #2b6cb0; }
"""
