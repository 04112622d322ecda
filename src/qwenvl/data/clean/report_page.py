"""`report.html`: the page of a cleaning report, from the JSON values alone."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from qwenvl.data.clean.histogram import histogram
from qwenvl.page import page, table

CHARTS = 6
"""Sources that get a histogram of their own, the largest ones; the others are added up in one more."""


def report_page(report: Mapping[str, Any]) -> str:
    """The whole page; loads nothing from outside."""
    sections = [_whole(report), _sources(report), _rules(report), _matrix(report), _measured(report), _paper(report)]
    if report.get("run"):
        about = html.escape(json.dumps(report["run"], ensure_ascii=False, indent=1))
        sections.append(f"<h2>How it was made</h2><details><summary>The run</summary><pre>{about}</pre></details>")
    return page(f"Cleaning: {report['recipe']}", [_STYLE, *sections])


def percent(part: float | None, whole: float | None = 1) -> str:
    """ "12.3 %"; small shares keep a digit that counts, none of nothing is "–"."""
    if part is None or not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.1f} %" if share >= 0.1 else f"{share:.2g} %"


def share_bar(share: float | None, mark: float | None = None, title: str = "") -> str:
    """A share from 0 to 1 as a bar 200 pixels long; `mark` is a line across it."""
    if share is None:
        return ""
    line = f'<path d="M{200 * mark:.1f} 0V14" stroke="#1a202c" stroke-width="2"/>' if mark is not None else ""
    return (
        '<svg width="200" height="14" viewBox="0 0 200 14"><rect width="200" height="14" rx="3" fill="#edf2f7"/>'
        f'<rect width="{200 * share:.1f}" height="14" rx="3" fill="#4299e1"/>{line}'
        f"<title>{html.escape(title)}</title></svg>"
    )


def _whole(report: Mapping[str, Any]) -> str:
    read = report["read"]
    rows = [
        ("read", read, ""),
        ("kept", report["kept"], percent(report["kept"], read)),
        ("&emsp;with a changed caption", report["changed"], percent(report["changed"], read)),
        ("dropped", report["dropped"], percent(report["dropped"], read)),
    ]
    cells = [((name, f"{count:,}", share), "main" if name == "kept" else "") for name, count, share in rows]
    pictures = '<p><a href="pictures.html">Pictures kept and dropped by each rule</a></p>'
    return "<h2>Pairs</h2>" + table(("", "pairs", "of all"), cells) + pictures


def _sources(report: Mapping[str, Any]) -> str:
    rows = []
    for source in report["sources"]:
        paper = source["paper"]
        hint = f"kept {percent(source['share'])}" + (f", the paper {percent(paper['share'])}" if paper else "")
        cells = (
            *(html.escape(source["name"]), share_bar(source["share"], paper and paper["share"], hint)),
            *(percent(source["share"]), percent(paper["share"]) if paper else "–"),
            *(f"{source[key]:,}" for key in ("read", "kept", "changed")),
        )
        rows.append((cells, ""))
    return (
        "<h2>By source</h2><p>Kept of what was read; the line across is the share that the paper kept of the set "
        "that the source's name means.</p><div class='wide'>"
        + table(("", "kept", "", "paper", "read", "kept", "changed"), rows)
        + "</div>"
    )


def _rules(report: Mapping[str, Any]) -> str:
    rows = []
    for rule in report["rules"]:
        left = rule["reached"] - rule["dropped"]
        why = "<br>".join(f"{html.escape(reason)}: {count:,}" for reason, count in rule["why"].items())
        cells = (
            html.escape(rule["name"]) + (" <small>whole set</small>" if rule["kind"] == "set" else ""),
            share_bar(left / report["read"] if report["read"] else None, title=f"{left:,} left"),
            *(f"{rule[key]:,}" for key in ("reached", "dropped")),
            *(percent(rule["dropped"], rule["reached"]), f"{rule['changed']:,}", f'<div class="why">{why}</div>'),
        )
        rows.append((cells, ""))
    return (
        "<h2>By rule</h2><p>In the order in which they ran. A rule sees what those before it left; the bar is what is "
        "left after it.</p><div class='wide'>"
        + table(("", "left", "seen", "dropped", "of seen", "changed", "why"), rows)
        + "</div>"
    )


def _matrix(report: Mapping[str, Any]) -> str:
    names = [source["name"] for source in report["sources"]]
    if len(names) < 2:
        return ""
    rows = []
    for rule in report["rules"]:
        cells = [html.escape(rule["name"])]
        for name in names:
            found = rule["by_source"][name]
            shade = min(0.55, found["dropped"] / found["reached"]) if found["reached"] else 0
            text = percent(found["dropped"], found["reached"])
            hint = f"{found['dropped']:,} of {found['reached']:,}"
            cells.append(
                f'<span class="cell" style="background:rgba(229,62,62,{shade:.2f})" title="{hint}">{text}</span>'
            )
        rows.append((cells, ""))
    header = ["", *map(html.escape, names)]
    return (
        "<h2>By rule and source</h2><p>Dropped, of the source's pairs that the rule saw.</p>"
        f"<div class='wide'>{table(header, rows)}</div>"
    )


def _measured(report: Mapping[str, Any]) -> str:
    order = [
        source["name"] for source in sorted(report["sources"], key=lambda source: (-source["read"], source["name"]))
    ]
    out = []
    for rule in report["rules"]:
        found = {name: rule["by_source"][name] for name in order if "counts" in rule["by_source"][name]}
        shown = list(found)[:CHARTS] if len(found) > CHARTS + 1 else list(found)
        charts = [_chart(name, [found[name]], rule["edges"]) for name in shown]
        rest = [found[name] for name in found if name not in shown]
        if rest:
            charts.append(
                _chart(f"{len(rest)} smaller sources", [{**entry, "thresholds": {}} for entry in rest], rule["edges"])
            )
        if any(charts):
            out.append(f"<h3>{html.escape(rule['name'])}</h3><div class='charts'>{''.join(charts)}</div>")
    if not out:
        return ""
    return (
        "<h2>What the rules measured</h2><p>Pairs that reached the rule. Dark lines are the recipe's thresholds, "
        "what lies beyond is red. Grey bars at the ends hold what lies outside the chart.</p>" + "".join(out)
    )


def _chart(title: str, entries: Sequence[Mapping[str, Any]], edges: Sequence[float]) -> str:
    """The histogram of one source or of several added up, and what is no number in words."""
    counts = [sum(column) for column in zip(*(entry["counts"] for entry in entries if entry["counts"]), strict=True)]
    words: dict[str, int] = {}
    for entry in entries:
        for word, count in entry["words"].items():
            words[word] = words.get(word, 0) + count
    unknown = sum(entry["unknown"] for entry in entries)
    notes = [
        f"{html.escape(word)}: {count:,}" for word, count in sorted(words.items(), key=lambda e: (-e[1], e[0]))[:8]
    ]
    notes += [f"not known: {unknown:,}"] if unknown else []
    picture = histogram(edges, counts, entries[0]["thresholds"]) if any(counts) else ""
    if not picture and not notes:
        return ""
    said = f"<div class='why'>{'<br>'.join(notes)}</div>" if notes else ""
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{picture}{said}</figure>"


def _paper(report: Mapping[str, Any]) -> str:
    ours: dict[str, list[Mapping[str, Any]]] = {}
    for source in report["sources"]:
        if source["paper"]:
            ours.setdefault(source["paper"]["name"], []).append(source)
    rows = []
    for entry in report["paper"]:
        mine = ours.get(entry["name"], [])
        rows.append((_paper_cells(entry, sum(s["read"] for s in mine), sum(s["kept"] for s in mine)), ""))
    whole = {"name": "all", **{key: sum(entry[key] for entry in report["paper"]) for key in ("before", "after")}}
    whole["share"] = whole["after"] / whole["before"]
    rows.append((_paper_cells(whole, report["read"], report["kept"]), "main"))
    return (
        "<h2>Beside the paper</h2><p>Pairs before and after cleaning as published (Qwen-VL, appendix), and here. The "
        "paper gives no thresholds; sets that had been cleaned before (CC3M, LAION-zh) lose little.</p>"
        + table(("", "paper: before", "after", "kept", "here: read", "kept", "share"), rows)
    )


def _paper_cells(entry: Mapping[str, Any], read: int, kept: int) -> tuple[str, ...]:
    here = (f"{read:,}", f"{kept:,}", percent(kept, read)) if read else ("–", "–", "–")
    return (entry["name"], _short(entry["before"]), _short(entry["after"]), percent(entry["share"]), *here)


def _short(count: float) -> str:
    """ "1.4 B", "280 M"."""
    return f"{count / 1e9:.3g} B" if count >= 1e9 else f"{count / 1e6:.3g} M"


_STYLE = """<style>
.why { text-align: left; color: #718096; font-size: .78rem; line-height: 1.35; white-space: normal; min-width: 12rem; }
.cell { display: block; padding: 0 .35rem; border-radius: 3px; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; color: #4a5568; }
figure svg { display: block; }
.scores td:has(svg) { text-align: left; }
</style>"""
