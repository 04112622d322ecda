"""What every rule thinks of one pair, those after the one that dropped it too, and what became of it in its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwenvl.data.clean.judge import Judge, Seen
from qwenvl.data.clean.past import PastError, PastRun
from qwenvl.data.clean.rule import Rule
from qwenvl.data.clean.statistics import READING
from qwenvl.data.images import ImageError
from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs import BadPair, Unit
from qwenvl.text.inspect import printable

_OTHERS = 5


@dataclass(frozen=True)
class Thought:
    """What one rule thinks: the number or word that it measured, and "keeps", "drops: …" or "changes …"."""

    rule: str
    measured: str
    thresholds: str
    verdict: str
    drops: bool


def thoughts(pair: Pair, rules: Sequence[Rule]) -> list[Thought]:
    """Every rule in turn, as if none before it had dropped the pair; captions are changed as they go."""
    found = []
    for rule in rules:
        seen = Seen(pair.id, pair.source, pair, pair.caption)
        value = Judge([rule]).judge([seen])[rule.name].values[0]
        verdict = "keeps"
        dropped = seen.rule == rule.name
        if dropped:
            told = f" ({seen.value})" if seen.value is not None and value is None else ""
            verdict = f"drops: {seen.why}{told}"
        elif seen.changed:
            verdict = f"changes the caption to “{pair.caption}”"
        bounds = ", ".join(f"{name} {bound:g}" for name, bound in rule.thresholds(pair.source).items())
        measured = f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value) or "nothing"
        found.append(Thought(rule.name, measured, bounds, verdict, dropped))
    return found


def explain(run: PastRun, id: str) -> str:
    """Lines for a terminal about the pair of that id: read again from the input, judged by every rule of the run's
    recipe, with what the run decided.

    Raises PastError where the run has no such pair, OSError where its input can not be read any more.
    """
    unit, row = run.find(id)
    past = run.ledger(unit.number).slice(row, 1).to_pylist()[0]
    late = run.set_drops(unit.number).get(row)
    item = next((item for _, item in run.pairs(unit, [row])), None)
    if item is None or item.id != id:
        raise PastError(f"{unit.path}: {id} is no longer where it was: the input changed since the run")
    lines = [id, f"read from {unit.path}"]
    if isinstance(item, BadPair):
        lines += [f"can not be read: {item.why}" + (f" ({item.detail})" if item.detail else "")]
    else:
        lines += _about(item)
        found = thoughts(item, run.recipe.rules)
        asked = [_set_thought(rule.name, past, late, run) for rule in run.recipe.set_rules]
        lines += ["", *_table([*found, *asked], past["rule"] or (late["rule"] if late else None))]
    lines += ["", _outcome(run, past, late)]
    lines += _replaced(run, unit, id)
    return "\n".join(map(line, lines))


def _about(pair: Pair) -> list[str]:
    try:
        size = f"{pair.size[0]} × {pair.size[1]} pixels"
    except ImageError as error:
        size = str(error)
    url = pair.meta.get("url")
    caption = "no caption" if pair.caption is None else f"“{pair.caption}”"
    return [f"{size}, {len(pair.image):,} bytes" + (f", from {url}" if isinstance(url, str) else ""), caption]


def _set_thought(name: str, past: dict[str, Any], late: dict[str, Any] | None, run: PastRun) -> Thought:
    """A rule on the whole set is not asked again: what it said then."""
    if past["rule"] is not None:
        return Thought(name, "–", "", "not asked: was dropped before", False)
    if not run.layout.setwide.exists():
        return Thought(name, "–", "", "not asked yet: the run is not at its end", False)
    if late is None:
        return Thought(name, "–", "", "keeps", False)
    order = [rule.name for rule in run.recipe.set_rules]
    if late["rule"] == name:
        best = f"; {late['winner']} stays" if late["winner"] else ""
        return Thought(name, late["value"] or "–", "", f"drops: {late['why']}{best}", True)
    earlier = order.index(name) < order.index(late["rule"])
    return Thought(name, "–", "", "keeps" if earlier else "not asked: was dropped before", False)


def _table(found: Sequence[Thought], decisive: str | None) -> list[str]:
    """Columns, as wide as what is in them."""
    rows = [("rule", "measured", "thresholds", "thinks")]
    for thought in found:
        mark = "   ← dropped here" if thought.rule == decisive else ""
        rows.append((thought.rule, line(thought.measured, 24), thought.thresholds, thought.verdict + mark))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows]


def _outcome(run: PastRun, past: dict[str, Any], late: dict[str, Any] | None) -> str:
    if past["rule"] is not None:
        told = f" ({past['value']})" if past["value"] else ""
        what = "could not be read" if past["rule"] == READING else f"dropped by {past['rule']}"
        return f"In the run: {what}: {past['why']}{told}"
    if late is not None:
        stays = f"; {late['winner']} stays in its place" if late["winner"] else ""
        return f"In the run: dropped by {late['rule']}: {late['why']}{stays}"
    if run.recipe.set_rules and not run.layout.setwide.exists():
        return "In the run: kept so far; the rules on the whole set have not run yet"
    changed = (
        f" with the caption “{past['caption']}” (changed by {', '.join(past['changed'])})" if past["changed"] else ""
    )
    return f"In the run: kept{changed}"


def _replaced(run: PastRun, unit: Unit, id: str) -> list[str]:
    """The pairs in whose place this one stays."""
    import pyarrow.parquet as pq

    if not run.layout.setwide.exists():
        return []
    found = pq.read_table(run.layout.setwide, columns=["unit", "row", "rule"], filters=[("winner", "==", id)])
    lines = []
    for place in found.slice(0, _OTHERS).to_pylist():
        other = run.ledger(place["unit"], ["id"])["id"][place["row"]].as_py()
        lines.append(f"  {other} ({place['rule']})")
    if found.num_rows > _OTHERS:
        lines.append(f"  and {found.num_rows - _OTHERS:,} more")
    return [f"It stays in the place of {found.num_rows:,}:", *lines] if lines else []


def line(text: str, wide: int = 2000) -> str:
    """One line that a terminal shows as it is: no control characters of a crawled text, no line breaks, cut if long."""
    text = printable(text.replace("\n", "⏎"))
    return text if len(text) <= wide else f"{text[: wide - 1]}…"
