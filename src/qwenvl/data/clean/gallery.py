"""`pictures.html`: some pictures that each rule dropped, and some near its threshold that stayed."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qwenvl.data.clean.past import PastError, PastRun
from qwenvl.data.clean.rule import Rule, SetRule
from qwenvl.data.clean.statistics import READING
from qwenvl.data.images import ImageError
from qwenvl.data.pair import Pair
from qwenvl.data.whole import write_text
from qwenvl.page import page

UNITS = 8
"""Units that pictures are taken from, evenly spread: the dropped ones are in the input alone, and are read again."""

ROWS = 1000
"""Pairs of such a unit that are chosen from, its first ones: the others need not be read again, nor held."""

DROPPED, KEPT, WINNERS, ALL = 12, 6, 4, 24
"""Pictures shown of each rule that it dropped, that it kept or changed; duplicates that are shown beside the one that
stays (which may lie in any unit); pictures kept by all rules.
"""

_SIDE = 180
_LETTERS = 300

T = TypeVar("T")

Place = tuple[int, int]
"""A pair: unit and row."""


@dataclass(frozen=True)
class Card:
    """A pair on the page. `beside` is the pair in whose place another one goes."""

    place: Place
    row: Mapping[str, Any]
    label: str
    dropped: bool
    beside: Place | None = None


def write_pictures(run: PastRun) -> Path:
    """Write `pictures.html` into the run's folder; gives its path. The same run gives the same page.

    Where the input can no more be read the page says so in the pictures' places.
    """
    chosen = [run.units[i * len(run.units) // UNITS] for i in range(UNITS)] if len(run.units) > UNITS else run.units
    rows = {unit.number: _rows(run, unit.number) for unit in chosen}
    sections = [(name, hint, _cards(rule, rows, run)) for name, hint, rule in _titles(run)]
    sections.append(("kept", "Pairs that all rules kept.", _kept(rows)))
    wanted = {place for *_, cards in sections for card in cards for place in (card.place, card.beside) if place}
    pictures = _read(run, wanted)
    units = f"{len(chosen)} of {len(run.units):,} units" if len(chosen) < len(run.units) else "all units"
    intro = (
        f"<p>From the first {ROWS:,} pairs of {units}, evenly spread; the same run shows the same pairs. "
        '<a href="report.html">Back to the report</a></p>'
    )
    body = [_section(name, hint, cards, pictures) for name, hint, cards in sections if cards]
    path = run.layout.out / "pictures.html"
    write_text(path, page(f"Pictures: {run.recipe.name}", [_STYLE, intro, *body]))
    return path


def _titles(run: PastRun) -> list[tuple[str, str, Rule | SetRule | None]]:
    """Name, what its first line of documentation says, and the rule; None is the reading."""
    titles: list[tuple[str, str, Rule | SetRule | None]] = [(READING, "What could not be read.", None)]
    rules: list[Rule | SetRule] = [*run.recipe.rules, *run.recipe.set_rules]
    for rule in rules:
        said = (type(rule).__doc__ or "").strip().split("\n\n")[0]
        titles.append((rule.name, " ".join(said.split()), rule))
    return titles


def _rows(run: PastRun, number: int) -> list[dict[str, Any]]:
    """The first rows of a unit's ledger, with what the rules on the whole set dropped."""
    ledger = run.ledger(number).slice(0, ROWS).drop_columns(["digest", "phash"])
    rows: list[dict[str, Any]] = ledger.to_pylist()
    for row, late in run.set_drops(number).items():
        if row < len(rows):
            rows[row] |= {"kept": False, **late}
    return rows


def _cards(rule: Rule | SetRule | None, rows: Mapping[int, Sequence[Mapping[str, Any]]], run: PastRun) -> list[Card]:
    name = READING if rule is None else rule.name
    gone = [((unit, i), row) for unit, found in rows.items() for i, row in enumerate(found) if row["rule"] == name]
    cards = [Card(place, row, _why(row), True) for place, row in spread(gone, DROPPED)]
    if isinstance(rule, SetRule):
        return [_beside(card, run) if i < WINNERS else card for i, card in enumerate(cards)]
    if rule is None:
        return cards
    stays = [((unit, i), row) for unit, found in rows.items() for i, row in enumerate(found) if row["kept"]]
    changed = [(place, row) for place, row in stays if name in row["changed"]]
    if changed:
        return cards + [Card(place, row, "changed", False) for place, row in spread(changed, KEPT)]
    near = [(away, place, row) for place, row in stays if (away := _away(rule, row)) is not None]
    near.sort(key=lambda item: item[:2])
    return cards + [Card(place, row, f"{row[f'm_{name}']:.4g}", False) for _, place, row in near[:KEPT]]


def _beside(card: Card, run: PastRun) -> Card:
    """The card with the pair that stays in its place, wherever that is."""
    try:
        unit, row = run.find(card.row["winner"] or "")
    except PastError:
        return card
    return Card(card.place, card.row, card.label, True, (unit.number, row))


def _away(rule: Rule, row: Mapping[str, Any]) -> float | None:
    """How far what was measured lies from the nearest threshold; None where there is nothing to compare."""
    value = row.get(f"m_{rule.name}")
    bounds = rule.thresholds(row["source"]).values()
    return min((abs(value - bound) for bound in bounds), default=None) if value is not None else None


def _kept(rows: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[Card]:
    stays = [((unit, i), row) for unit, found in rows.items() for i, row in enumerate(found) if row["kept"]]
    return [Card(place, row, "kept", False) for place, row in spread(stays, ALL)]


def spread(found: Sequence[T], count: int) -> list[T]:
    """Evenly spaced ones."""
    return [found[i * len(found) // count] for i in range(count)] if len(found) > count else list(found)


def _why(row: Mapping[str, Any]) -> str:
    return row["why"] + (f" ({row['value']})" if row["value"] else "")


def _read(run: PastRun, places: Iterable[Place]) -> dict[Place, str]:
    """The thumbnails as HTML, unit by unit, so that one unit's pictures are in memory at a time."""
    rows: dict[int, list[int]] = {}
    for unit, row in places:
        rows.setdefault(unit, []).append(row)
    shown: dict[Place, str] = {}
    for number, wanted in sorted(rows.items()):
        try:
            for row, item in run.pairs(run.units[number], wanted):
                shown[number, row] = _thumbnail(item) if isinstance(item, Pair) else _note("can not be read")
        except (OSError, ValueError) as error:
            for row in wanted:
                shown.setdefault((number, row), _note(f"the input can not be read any more: {error}"))
    return shown


def _thumbnail(pair: Pair) -> str:
    try:
        small = pair.pixels.copy()
    except ImageError as error:
        return _note(str(error))
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img width="{small.width}" height="{small.height}" alt="" loading="lazy" src="data:image/jpeg;base64,{data}">'
    )


def _note(text: str) -> str:
    return f"<div class='broken'>{html.escape(_cut(text))}</div>"


def _section(name: str, hint: str, cards: Sequence[Card], pictures: Mapping[Place, str]) -> str:
    gone = "".join(_card(card, pictures) for card in cards if card.dropped)
    stays = "".join(_card(card, pictures) for card in cards if not card.dropped)
    out = f"<h2>{html.escape(name)}</h2><p>{html.escape(hint)}</p>"
    out += f"<h3>dropped</h3><div class='cards'>{gone}</div>" if gone else ""
    return out + (f"<h3>kept</h3><div class='cards'>{stays}</div>" if stays else "")


def _card(card: Card, pictures: Mapping[Place, str]) -> str:
    row = card.row
    shown = [pictures.get(card.place, _note("no longer in the input"))]
    if card.beside:
        shown.append(pictures.get(card.beside, _note("no longer in the input")))
    caption = html.escape(_cut(row["caption"] or "")) or "<i>no caption</i>"
    if row["original"] is not None:
        caption = f"<s>{html.escape(_cut(row['original']))}</s><br>{caption}"
    winner = f"<div class='id'>stays: {html.escape(row['winner'])}</div>" if row.get("winner") else ""
    return (
        f'<div class="card{" wrong" if card.dropped else ""}"><div class="pictures">{"".join(shown)}</div>'
        f"<div><b>{html.escape(_cut(card.label))}</b></div><div>{caption}</div>"
        f"<div class='id'>{html.escape(row['id'])}</div>{winner}</div>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


_STYLE = """<style>
.id { color: #a0aec0; font-size: .7rem; margin-top: .2rem; }
.broken { color: #a0aec0; border: 1px dashed #cbd5e0; padding: 1rem .5rem; font-size: .75rem; }
.card s { color: #a0aec0; }
.pictures { align-items: center; }
</style>"""
