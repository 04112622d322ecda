"""The report: counts that add up, thresholds drawn where they lie, nothing unescaped, the sets that names mean."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from qwenvl.data.clean.histogram import histogram
from qwenvl.data.clean.report import PAPER, published, summary, write_report
from qwenvl.data.clean.rule import Rule, SetRule
from qwenvl.data.clean.rules.bounded import Bounded, Bounds
from qwenvl.data.clean.rules.near_duplicates import NearDuplicates
from qwenvl.data.clean.statistics import READING, Statistics
from qwenvl.data.pair import Pair

EVIL = '<script>alert("x")</script>'


@dataclass(frozen=True)
class Sides(Bounded):
    """Measures the meta value "side"."""

    name: ClassVar[str] = "sides"
    bins: ClassVar[tuple[float, ...]] = (0.0, 10.0, 20.0, 30.0, 40.0)

    def measure(self, pair: Pair) -> float | str | None:
        return pair.meta.get("side")


RULES: list[Rule | SetRule] = [Sides(min=20, sources={"b": Bounds(min=10)}), NearDuplicates()]


def made() -> Statistics:
    """Two sources: one with unreadable pairs, one whose name and reasons are markup."""
    found = Statistics()
    a, b = found.source(f"cc12m {EVIL}"), found.source("b")
    a.read, a.kept, a.changed = 10, 4, 1
    a.drop(READING, f"empty {EVIL}", 2)
    a.drop("sides", "too small", 3)
    a.drop("near_duplicates", "looks like another image", 1)
    a.changed_by["sides"] = 2
    for value in (5, 15, 19, 25, 25, 39, 99, None):
        a.measure(RULES[0], value)
    b.read, b.kept = 3, 3
    for word in ("en", EVIL, ""):
        b.measure(RULES[0], word)
    found.check("made")
    return found


def test_a_rule_sees_what_those_before_it_left() -> None:
    report = summary(made(), RULES, "mine")
    assert [(r["name"], r["kind"], r["reached"], r["dropped"]) for r in report["rules"]] == [
        ("reading", "reading", 13, 2),
        ("sides", "pair", 11, 3),
        ("near_duplicates", "set", 8, 1),
    ]
    assert report["read"] == report["kept"] + report["dropped"] == 13
    sides = report["rules"][1]
    assert {name: found["thresholds"] for name, found in sides["by_source"].items()} == {
        f"cc12m {EVIL}": {"min": 20},
        "b": {"min": 10},
    }
    assert sides["by_source"][f"cc12m {EVIL}"]["counts"] == [0, 1, 2, 2, 1, 1]


class Checker(HTMLParser):
    """Notes what a browser would load or run, and tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        addresses = [value or "" for name, value in attrs if name in ("src", "href")]
        self.bad += [value for value in addresses if re.match(r"(\w+:|//)", value) and not value.startswith("data:")]
        self.bad += [tag] if tag == "script" else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.bad.append(f"</{tag}>")


def test_the_page_is_whole_and_runs_nothing(tmp_path: Path) -> None:
    path = write_report(tmp_path, made(), RULES, f"mine {EVIL}", {"input": EVIL})
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.bad == [] and checker.open == []
    assert "&lt;script&gt;" in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["run"] == {"input": EVIL} and report["format"] == "qwenvl-cleaning-1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_nothing_read_is_a_report_too(tmp_path: Path) -> None:
    assert write_report(tmp_path, Statistics(), RULES, "none", {}).is_file()
    none_kept = Statistics()
    none_kept.source("s").read = 1
    none_kept.source("s").drop("sides", "too small")
    assert write_report(tmp_path, none_kept, RULES, "none", {}).is_file()


def bars(svg: str) -> list[tuple[float, float, str]]:
    """Left, right and colour of each bar."""
    rects = [e for e in ElementTree.fromstring(svg).iter() if e.tag == "rect"]
    return [(float(r.get("x", 0)), float(r.get("x", 0)) + float(r.get("width", 0)), r.get("fill", "")) for r in rects]


def line(svg: str) -> list[float]:
    """The places of the thresholds."""
    return [float(x) for x in re.findall(r'd="M([\d.]+) 11V96"', svg)]


def test_thresholds_stand_between_the_bars_that_they_part() -> None:
    svg = histogram((0, 10, 20, 30, 40), [0, 5, 5, 5, 5, 0], {"min": 10, "max": 30})
    low, high = line(svg)[1], line(svg)[0]
    shown = bars(svg)
    assert [colour == "#e53e3e" for *_, colour in shown] == [True, False, False, False]
    assert shown[0][1] <= low <= shown[1][0] and shown[2][1] <= high <= shown[3][0]


@pytest.mark.parametrize("bound", [-1e9, -1, 0, 0.5, 3, 4, 1e9])
@pytest.mark.parametrize("counts", [[1, 0, 0, 0], [0, 0, 0, 1], [0, 7, 0, 0], [1, 1, 1, 10**9]])
def test_any_bound_and_any_counts_can_be_drawn(bound: float, counts: list[int]) -> None:
    svg = histogram((0, 2, 4), counts, {"max": bound})
    assert len(bars(svg)) == sum(map(bool, counts))
    assert all(0 <= x <= 336 for bar in bars(svg) for x in bar[:2]) and all(0 <= x <= 336 for x in line(svg))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("laion2B-en", "LAION-en"),
        ("laion-coco", "LAION-COCO"),
        ("LAION_zh", "LAION-zh"),
        ("cc12m_part3", "CC12M"),
        ("conceptual_12m", "CC12M"),
        ("coyo-700m", "Coyo"),
        ("coco", "COCO Caption"),
        ("mine", None),
    ],
)
def test_names_of_sources_that_mean_a_set_of_the_paper(source: str, name: str | None) -> None:
    found = published(source)
    assert (found and found["name"]) == name


def test_the_papers_table_is_that_of_the_paper() -> None:
    # as printed: 5 B before, 1.4 B after, and these shares
    assert round(sum(entry[1] for entry in PAPER) / 1e9) == 5 and round(sum(entry[2] for entry in PAPER) / 1e8) == 14
    shares = {"LAION-en": 14, "LAION-COCO": 50, "DataComp": 21, "Coyo": 28, "CC12M": 66, "CC3M": 100, "SBU": 80}
    shares |= {"COCO Caption": 100, "LAION-zh": 97, "In-house Data": 100}
    assert {entry[0]: int(100 * entry[2] / entry[1]) for entry in PAPER} == shares
