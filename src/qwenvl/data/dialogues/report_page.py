"""`statistics.html`: the page of a corpus of conversations, from the JSON values alone."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from qwenvl.data.clean.histogram import histogram
from qwenvl.data.clean.report_page import percent, share_bar
from qwenvl.page import page, table

_NAMES = {
    "as_is": "as they are",
    "multi_turn": "questions joined",
    "several_tasks": "several tasks",
    "several_pictures": "several pictures",
    "llm": "language model",
    "text": "without pictures",
    "none": "no strategy fits",
}


def statistics_page(found: Mapping[str, Any]) -> str:
    """The whole page; loads nothing from outside."""
    about = html.escape(json.dumps(found["recipe"], ensure_ascii=False, indent=1))
    sections = [
        _STYLE,
        _strategies(found),
        _text(found),
        _language_model(found),
        _shapes(found),
        _dropped(found),
        _sources(found),
        f"<h2>How it was made</h2><details><summary>The recipe</summary><pre>{about}</pre></details>",
    ]
    return page(f"Conversations: {found['recipe']['name']}", sections)


def _strategies(found: Mapping[str, Any]) -> str:
    rows = []
    for row in found["strategies"]:
        count = row["conversations"]
        cells = (
            *(_NAMES[row["name"]], share_bar(row["share"]), f"{count:,}", percent(row["share"])),
            *(f"{row['exchanges'] / count:.1f}" if count else "–", f"{row['regions']:,}"),
            *(f"{row['languages'].get(name, 0):,}" for name in ("en", "zh")),
            f"{sum(row['dropped'].values()):,}",
        )
        rows.append((cells, ""))
    exchanges = sum(row["exchanges"] for row in found["strategies"])
    rows.append((("all", "", f"{found['conversations']:,}", "", f"{exchanges / found['conversations']:.1f}",
                  *(f"{sum(row['regions'] for row in found['strategies']):,}",),
                  *(f"{sum(r['languages'].get(name, 0) for r in found['strategies']):,}" for name in ("en", "zh")),
                  f"{sum(sum(row['dropped'].values()) for row in found['strategies']):,}"), "main"))  # fmt: skip
    header = ("", "", "conversations", "share", "questions each", "places", "English", "Chinese", "dropped")
    return (
        "<h2>Conversations</h2><p>By how they were made; the recipe's weights are of records, which may give several. "
        "<a href='examples.html'>Some of each, as training sees them</a>.</p>"
        f"<div class='wide'>{table(header, rows)}</div>"
    )


def _text(found: Mapping[str, Any]) -> str:
    text = found["text"]
    if text is None:
        return ""
    short = text["kept"] < text["wanted"]
    note = " <b class='bad'>The sources have no more.</b>" if short else ""
    return (
        f"<p>Without pictures: {percent(text['reached'])} of all conversations; the recipe asks for "
        f"{percent(text['share'])} ({text['wanted']:,}).{note}</p>"
    )


def _language_model(found: Mapping[str, Any]) -> str:
    told = found["llm"]
    if told is None:
        return ""
    rows = [
        (("pictures asked about", f"{told['asked']:,}"), ""),
        (("conversations kept", f"{told['kept']:,}"), "main"),
        (("pictures dropped", f"{told['dropped']:,}"), ""),
        (("requests sent", f"{told['requests']:,}"), ""),
        (("replies from the cache", f"{told['from_cache']:,}"), ""),
        (("tokens in", f"{told['input_tokens']:,}"), ""),
        (("tokens out", f"{told['output_tokens']:,}"), ""),
        (("cost", f"{told['cost']:.4g}"), ""),
    ]
    failed = [((html.escape(name), f"{count:,}"), "") for name, count in told["failed_requests"].items()]
    again = [((html.escape(name), f"{count:,}"), "") for name, count in told["rejected_answers"].items()]
    return (
        f"<h2>Language model</h2><p>{html.escape(told['model'])}. Tokens and cost are of all requests ever sent for "
        "this corpus; of requests that failed they are not known.</p><div class='side'>"
        + f"<div>{table(('', ''), rows)}</div>"
        + (f"<div>{table(('requests that failed', ''), failed)}</div>" if failed else "")
        + (f"<div>{table(('answers that failed the checks', ''), again)}</div>" if again else "")
        + "</div>"
    )


def _shapes(found: Mapping[str, Any]) -> str:
    """For each strategy how many turns, pictures and tokens its conversations have."""
    limit = {"max": float(found["recipe"]["max_tokens"])}
    out = []
    for row in found["strategies"]:
        if not row["conversations"]:
            continue
        chart = histogram(found["token_edges"], row["tokens"], limit)
        bars = [_bars(name, row[key]) for name, key in (("questions", "turns"), ("pictures", "pictures"))]
        out.append(
            f"<h3>{_NAMES[row['name']]}</h3><div class='length'>{''.join(bars)}"
            f"<figure><figcaption>tokens (estimated)</figcaption>{chart}</figure></div>"
        )
    return "<h2>Length</h2>" + "".join(out)


def _bars(title: str, counts: Mapping[str, int]) -> str:
    whole = sum(counts.values())
    rows = [((number, share_bar(count / whole), f"{count:,}"), "") for number, count in counts.items()]
    return f"<div>{table((title, '', ''), rows)}</div>"


def _dropped(found: Mapping[str, Any]) -> str:
    rows = [
        ((_NAMES[row["name"]], html.escape(reason), f"{count:,}"), "")
        for row in found["strategies"]
        for reason, count in row["dropped"].items()
    ]
    if not rows:
        return ""
    return (
        "<h2>Dropped</h2><p>What was made or asked for and is not in the corpus; each with its reason in "
        f"<code>dropped/</code>.</p><div class='wide'>{table(('', 'why', 'times'), rows)}</div>"
    )


def _sources(found: Mapping[str, Any]) -> str:
    rows = []
    for name, count in found["read"].items():
        cells = (html.escape(name), f"{count:,}", f"{found['origins'].get(name, 0):,}")
        rows.append((cells, ""))
    lost = [
        ((html.escape(name), html.escape(reason), f"{count:,}"), "")
        for name, reasons in found["dropped"].items()
        for reason, count in reasons.items()
    ]
    return (
        "<h2>Sources</h2><p>Records read, and how often one was used in a conversation (records of one picture are "
        "joined first).</p><div class='side'><div>"
        + table(("", "records", "used"), rows)
        + "</div>"
        + (f"<div>{table(('', 'not read for', 'rows'), lost)}</div>" if lost else "")
        + "</div>"
    )


_STYLE = """<style>
figure { margin: 0; } figcaption { font-size: .8rem; color: #4a5568; } figure svg { display: block; }
.length { display: flex; gap: 2rem; align-items: flex-start; }
.length .scores svg { width: 6rem; height: auto; }
.scores td:has(svg), .scores td:nth-child(2) { text-align: left; }
</style>"""
