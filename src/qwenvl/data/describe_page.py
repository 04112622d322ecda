"""A page about a source: its counts, a histogram of everything measured, and how many rows were skipped and why."""

from __future__ import annotations

import html

from qwenvl.data.clean.histogram import histogram
from qwenvl.data.describe import EDGES, Description, lines_of
from qwenvl.data.sources.report import BadRows
from qwenvl.page import page, table

_SHOWN_WORDS = 12


def describe_page(source: str, found: Description, bad: BadRows) -> str:
    """The page as HTML; `bad` holds the rows that were skipped."""
    plain = {name for name in EDGES} | {f"most common {kind}" for kind in found.common}
    rows = [([html.escape(name), html.escape(value)], "") for name, value in lines_of(found) if name not in plain]
    rows.append((["rows skipped", f"{bad.count:,}"], ""))
    sections = [table(("what", "how many"), rows)]
    if bad.count:
        messages = "".join(f"<li>{html.escape(message)}</li>" for message in bad.messages[:10])
        sections.append(f"<h2>Skipped rows</h2><p>The first of them:</p><ul>{messages}</ul>")
    values = dict(lines_of(found))
    plots = "".join(
        f'<figure style="display:inline-block;margin:0 1.5em 1.5em 0"><figcaption><b>{html.escape(name)}</b><br>'
        f"<small>{html.escape(values[name])}</small></figcaption>{histogram(EDGES[name], one.bins, {})}</figure>"
        for name, one in sorted(found.measures.items(), key=lambda item: list(EDGES).index(item[0]))
    )
    sections.append(
        f"<h2>Histograms</h2><p>Heights go by the square root; the numbers show under the mouse.</p>{plots}"
    )
    for kind, counts in found.common.items():
        common = [([html.escape(words), f"{count:,}"], "") for words, count in counts.most_common(_SHOWN_WORDS)]
        sections.append(f"<h2>Most common {kind}</h2>{table((kind, 'times'), common)}")
    return page(f"{source}: what it holds", sections)
