"""`card.md`: the card of a corpus as Markdown, with the front matter that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FRONT = """---
configs:
- config_name: default
  data_files: "[0-9]*.parquet"
---
"""


def card_text(card: Mapping[str, Any]) -> str:
    """The card of a `summary`."""
    parts = [
        f"{_FRONT}# {card['name']}\n",
        card["about"],
        f"{headline(card)}\n",
        f"## Tasks\n\n{TASKS_NOTE}\n\n{_table(*task_rows(card))}\n",
        f"## Sources\n\n{SOURCES_NOTE}\n\n{_table(*source_rows(card))}\n",
    ]
    left_out = left_out_rows(card)
    if left_out[1]:
        parts.append(f"## What was left out\n\n{_table(*left_out)}\n\nRecord by record in `dropped.parquet`.\n")
    parts.append(f"## Lengths and packing\n\n{length_note(card)}\n\n{_table(*length_rows(card))}\n")
    return "\n".join(part for part in parts if part)


TASKS_NOTE = "Training draws tasks as often as “drawn” says. The paper's numbers are those of its table 3 (2308.12966)."
SOURCES_NOTE = (
    "A record is kept if some task has a sample of it. Where the paper has numbers of a set, they are pairs before and "
    "after cleaning (its table 2)."
)


def headline(card: Mapping[str, Any]) -> str:
    """The corpus in a sentence or two."""
    text = (
        f"{card['samples']:,} samples of {card['pictures']:,} pictures in {card['records']:,} records. "
        f"{card['joined']:,} records were joined to others of the same picture, so that it is stored once; "
        f"{card['twice']:,} annotations stood there twice and were left out."
    )
    if card["held_out"]:
        pictures = sum(held["pictures"] for held in card["held_out"])
        unread = sum(held["skipped"] for held in card["held_out"])
        text += f" Pictures held out for tests: {pictures:,}"
        text += f" ({unread:,} rows of their sets could not be read)." if unread else "."
    if card["missing"]:
        text += f" Not there when it was made: {', '.join(card['missing'])}."
    return text


Cells = tuple[list[str], list[list[str]]]
"""The head and the rows of a table, as plain text."""


def task_rows(card: Mapping[str, Any]) -> Cells:
    """Samples of each task beside the paper's."""
    head = ["task", "samples", "part", "drawn", "paper", "paper's part", "records", "languages", "sources"]
    rows = [
        [
            task["name"],
            f"{task['samples']:,}",
            _percent(task["part"]),
            _percent(task["drawn"]),
            _number(task["published"]),
            _percent(task["published_part"]),
            f"{task['records']:,}",
            _languages(task["languages"]),
            ", ".join(task["sources"]),
        ]
        for task in card["tasks"]
    ]
    published = sum(task["published"] or 0 for task in card["tasks"])
    both = sum(task["records"] for task in card["tasks"])
    rows.append(["all", f"{card['samples']:,}", "", "", _number(published or None), "", f"{both:,}", "", ""])
    return head, rows


def source_rows(card: Mapping[str, Any]) -> Cells:
    """What became of each source's records, beside the paper's pairs before and after cleaning where it has them."""
    published = any(source["published"] for source in card["sources"])
    head = ["source", "records read", "kept", "share", *(["paper: before", "after", "share"] * published), "samples"]
    rows = []
    for source in card["sources"]:
        before, after = source["published"] or (None, None)
        name = source["name"] if source["there"] else f"{source['name']} (not there)"
        kept = source["kept"] / source["read"] if source["read"] else None
        samples = ", ".join(f"{task} {count:,}" for task, count in source["samples"].items() if count)
        paper = [_number(before), _number(after), _percent(after / before if before else None)] * published
        rows.append([name, f"{source['read']:,}", f"{source['kept']:,}", _percent(kept), *paper, samples or "–"])
    return head, rows


def left_out_rows(card: Mapping[str, Any]) -> Cells:
    """For each source that lost something: how many rows no record could be made of, and how many each rule took."""
    rules = list(dict.fromkeys(rule for source in card["sources"] for rule in source["dropped"]))
    head = ["source", "unreadable rows", *rules]
    rows = [
        [source["name"], f"{source['skipped']:,}", *(f"{source['dropped'].get(rule, 0):,}" for rule in rules)]
        for source in card["sources"]
        if source["skipped"] or source["dropped"]
    ]
    return head, rows


def length_note(card: Mapping[str, Any]) -> str:
    """How the lengths were measured."""
    return (
        f"Measured in tokens of {card['tokenizer']} on some samples of every shard; rows are of {card['sequence']:,} "
        "tokens, each of one task, packed as training packs them. Samples about one picture share its slots."
    )


def length_rows(card: Mapping[str, Any]) -> Cells:
    """Lengths of each task's samples, and how full its rows get."""
    head = ["task", "measured", "tokens", "supervised", "longest", "too long", "groups packed", "rows", "fill"]
    rows = []
    for task in card["tasks"]:
        fill = task["fill"]
        packed = ["–"] * 3 if fill is None else [f"{fill['groups']:,}", f"{fill['rows']:,}", _percent(fill["share"])]
        lengths = [_number(task[key]) for key in ("tokens", "supervised", "longest")]
        rows.append([task["name"], f"{task['measured']:,}", *lengths, f"{task['too_long']:,}", *packed])
    return head, rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = ["---"] + ["---:"] * (len(head) - 1)
    cells = [list(head), right, *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _languages(found: Mapping[str, int]) -> str:
    total = sum(found.values())
    return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in found.items()) if total else "–"
