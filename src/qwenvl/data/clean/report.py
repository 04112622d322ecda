"""What cleaning did, as `report.json` and from it `report.html`: counts by rule and source, histograms, the paper's
shares beside ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenvl.data.clean.report_page import report_page
from qwenvl.data.clean.rule import Rule, SetRule
from qwenvl.data.clean.statistics import READING, Statistics, edges
from qwenvl.data.whole import write_json, write_text

FORMAT = "qwenvl-cleaning-1"

PAPER: tuple[tuple[str, float, float, str], ...] = (
    ("LAION-en", 2e9, 280e6, "laionen laion2ben relaion2ben"),
    ("LAION-COCO", 600e6, 300e6, "laioncoco"),
    ("DataComp", 1.4e9, 300e6, "datacomp"),
    ("Coyo", 700e6, 200e6, "coyo"),
    ("CC12M", 12e6, 8e6, "cc12m conceptual12m"),
    ("CC3M", 3e6, 3e6, "cc3m conceptualcaptions"),
    ("SBU", 1e6, 0.8e6, "sbu"),
    ("COCO Caption", 0.6e6, 0.6e6, "coco mscoco"),
    ("LAION-zh", 108e6, 105e6, "laionzh laion2bzh"),
    ("In-house Data", 220e6, 220e6, "inhouse"),
)
"""Pairs before and after cleaning as published (paper, appendix, table of pre-training data), and how names of sources
that mean that set begin, letters and digits alone.
"""


def write_report(
    folder: Path, statistics: Statistics, rules: Sequence[Rule | SetRule], recipe: str, more: Mapping[str, Any]
) -> Path:
    """Write `folder/report.json` and `folder/report.html`; give the page's path.

    `rules` are the recipe's in its order; `more` are plain JSON values about the run for the end of the report.
    Equal counts give equal files.
    """
    report = summary(statistics, rules, recipe) | {"run": dict(more)}
    write_json(folder / "report.json", report)
    path = folder / "report.html"
    write_text(path, report_page(report))
    return path


def summary(statistics: Statistics, rules: Sequence[Rule | SetRule], recipe: str) -> dict[str, Any]:
    """The report as plain JSON values.

    `reached` of a rule is how many pairs it saw: those that the rules before it left. Rules on single pairs come
    before those on the whole set, whatever their order in the recipe: so they run.
    """
    names = sorted(statistics.sources)
    left = {name: statistics.sources[name].read for name in names}
    single = [rule for rule in rules if isinstance(rule, Rule)]
    whole = [rule for rule in rules if isinstance(rule, SetRule)]
    entries = []
    for rule in (None, *single, *whole):
        entry = _rule(rule, statistics, left)
        if rule is not None or entry["dropped"]:
            entries.append(entry)
        for name in names:
            left[name] -= entry["by_source"][name]["dropped"]
    return {
        "format": FORMAT,
        "recipe": recipe,
        "read": statistics.read,
        "kept": statistics.kept,
        "dropped": statistics.dropped,
        "changed": sum(counts.changed for counts in statistics.sources.values()),
        "sources": [_source(name, statistics) for name in names],
        "rules": entries,
        "paper": [_published(*entry[:3]) for entry in PAPER],
    }


def _rule(rule: Rule | SetRule | None, statistics: Statistics, left: Mapping[str, int]) -> dict[str, Any]:
    """One rule's counts, by source; `rule` None is the reading, `left` what reaches the rule."""
    name = READING if rule is None else rule.name
    by_source: dict[str, dict[str, Any]] = {}
    why: dict[str, int] = {}
    for source, reached in left.items():
        counts = statistics.sources[source]
        reasons = counts.dropped.get(name, {})
        for reason, count in reasons.items():
            why[reason] = why.get(reason, 0) + count
        found: dict[str, Any] = {
            "reached": reached,
            "dropped": sum(reasons.values()),
            "changed": counts.changed_by.get(name, 0),
        }
        measured = counts.measured.get(name)
        if isinstance(rule, Rule) and measured:
            found |= {"counts": measured.counts, "words": measured.words, "unknown": measured.unknown}
            found["thresholds"] = dict(rule.thresholds(source))
        by_source[source] = found
    return {
        "name": name,
        "kind": "reading" if rule is None else "set" if isinstance(rule, SetRule) else "pair",
        **{key: sum(found[key] for found in by_source.values()) for key in ("reached", "dropped", "changed")},
        "why": dict(sorted(why.items(), key=lambda item: (-item[1], item[0]))),
        "edges": list(edges(rule)) if isinstance(rule, Rule) else [],
        "by_source": by_source,
    }


def _source(name: str, statistics: Statistics) -> dict[str, Any]:
    counts = statistics.sources[name]
    return {
        "name": name,
        "read": counts.read,
        "kept": counts.kept,
        "changed": counts.changed,
        "share": counts.kept / counts.read if counts.read else None,
        "paper": published(name),
    }


def published(source: str) -> dict[str, Any] | None:
    """What the paper kept of the set that a source's name means ("laion2B-en", "cc12m_part3"), None where it has none.

    Of two names that fit the longer one counts.
    """
    plain = re.sub(r"[\W_]", "", source.lower())
    fitting = [
        (len(start), _published(name, before, after))
        for name, before, after, starts in PAPER
        for start in starts.split()
        if plain.startswith(start)
    ]
    return max(fitting, key=lambda found: found[0])[1] if fitting else None


def _published(name: str, before: float, after: float) -> dict[str, Any]:
    return {"name": name, "before": int(before), "after": int(after), "share": after / before}
