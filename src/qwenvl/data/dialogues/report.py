"""What a corpus of conversations holds, as JSON and for the terminal, and some of it as training sees it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwenvl.data.dialogues.gather import Gathered
from qwenvl.data.dialogues.recipe import STRATEGIES, TEXT, DialogueRecipe
from qwenvl.data.dialogues.statistics import EDGES, Tally, by_strategy
from qwenvl.data.preview import tokenizer_for
from qwenvl.data.shards import ShardReader
from qwenvl.sample import Sample
from qwenvl.tasks import dialogue
from qwenvl.text.inspect import to_html
from qwenvl.text.render import render
from qwenvl.typed import to_dict

_LOOKED_AT = 20
"""Shards that examples are drawn from at most."""


def statistics(
    recipe: DialogueRecipe, found: Gathered, tally: Tally, wanted: int, llm: Mapping[str, Any] | None
) -> dict[str, Any]:
    """All counts as plain values; `wanted` is how many text-only conversations the recipe's share asks for."""
    whole = tally.dialogues.total()
    each = {name: by_strategy(getattr(tally, name)) for name in ("languages", "turns", "pictures", "tokens", "dropped")}
    rows = []
    for name in (*STRATEGIES, TEXT, "none"):
        kept, dropped = tally.dialogues[name], each["dropped"].get(name, {})
        if not kept and not dropped:
            continue
        bins = each["tokens"].get(name, {})
        rows.append(
            {
                "name": name,
                "conversations": kept,
                "share": kept / whole,
                "exchanges": tally.exchanges[name],
                "regions": tally.regions[name],
                "languages": each["languages"].get(name, {}),
                "turns": _by_number(each["turns"].get(name, {})),
                "pictures": _by_number(each["pictures"].get(name, {})),
                "tokens": [bins.get(str(number), 0) for number in range(len(EDGES) + 1)],
                "dropped": dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
            }
        )
    text = None
    if recipe.text is not None:
        kept = tally.dialogues[TEXT]
        text = {"share": recipe.text.share, "wanted": wanted, "kept": kept, "reached": kept / whole}
    return {
        "recipe": to_dict(recipe),
        "conversations": whole,
        "strategies": rows,
        "token_edges": list(EDGES),
        "text": text,
        "origins": dict(tally.origins.most_common()),
        **found.to_json(),
        "llm": llm,
    }


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """The statistics for the terminal: a line a strategy, then what was not kept and what is worth a warning."""
    lines = [f"{'strategy':16}  {'conversations':>13}  {'share':>6}  {'turns':>5}  {'en':>9}  {'zh':>9}"]
    for row in found["strategies"]:
        turns = row["exchanges"] / max(1, row["conversations"])
        lines.append(
            f"{row['name']:16}  {row['conversations']:13,}  {row['share']:6.1%}  {turns:5.1f}  "
            f"{row['languages'].get('en', 0):9,}  {row['languages'].get('zh', 0):9,}"
        )
    lines += ["", f"{found['conversations']:,} conversations of {sum(found['read'].values()):,} records read"]
    for row in found["strategies"]:
        lines += [f"dropped, {row['name']}: {reason}: {count:,}" for reason, count in row["dropped"].items()]
    for source, reasons in found["dropped"].items():
        lines += [f"not used of {source}: {reason}: {count:,}" for reason, count in reasons.items()]
    text = found["text"]
    if text is not None and text["kept"] < text["wanted"]:
        lines.append(
            f"warning: the share of text-only conversations is {text['reached']:.1%}, not {text['share']:.1%}: "
            f"{text['wanted']:,} were wanted, the sources have {text['kept']:,}"
        )
    if found["llm"] is not None:
        told = found["llm"]
        lines.append(
            f"language model: {told['requests']:,} requests, {told['input_tokens']:,} + {told['output_tokens']:,} "
            f"tokens, cost {told['cost']:.4g}; {told['from_cache']:,} replies from the cache"
        )
    return lines


def examples_page(recipe: DialogueRecipe, folder: Path) -> str:
    """`recipe.samples` conversations of each strategy, drawn by the seed, as training sees them."""
    rng = random.Random(f"{recipe.seed}/examples")
    reader = ShardReader(folder)
    found: dict[str, list[Sample]] = {}
    numbers = list(range(len(reader.shards)))
    for shard in rng.sample(numbers, min(_LOOKED_AT, len(numbers))):
        rows = reader.read_shard(shard)
        for row in rng.sample(range(len(rows)), len(rows)):
            record = rows[row]
            some = found.setdefault(str(record.meta["strategy"]), [])
            if len(some) < recipe.samples:
                some += dialogue.samples(record, rng, 1)
    samples = [sample for name in sorted(found) for sample in found[name]]
    tokenizer, slots, _ = tokenizer_for(None, samples)
    examples = [render(sample, tokenizer, slots) for sample in samples]
    return to_html(examples, tokenizer, f"{recipe.name}: drawn conversations")


def _by_number(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: int(item[0])))
