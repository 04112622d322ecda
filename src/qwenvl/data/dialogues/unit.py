"""The work on one unit: the strategies' conversations, and at the end its shard with text-only ones mixed in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.data.dialogues.exchanges import said_in
from qwenvl.data.dialogues.gather import BUCKETS, TEXTS, joined, picture_key
from qwenvl.data.dialogues.layout import Layout, read_json
from qwenvl.data.dialogues.recipe import TEXT, DialogueRecipe, Strategy
from qwenvl.data.dialogues.several import groups, several_pictures
from qwenvl.data.dialogues.statistics import Tally
from qwenvl.data.dialogues.strategies import Made, as_is, draw, multi_turn, possible, several_tasks
from qwenvl.data.dialogues.wordings import Wordings, load_wordings
from qwenvl.data.shard_writer import write_shard, write_shards
from qwenvl.data.shards import ShardReader
from qwenvl.data.whole import write_json, write_text
from qwenvl.sample import Record, Turn

NOTHING_FITS = "its annotations fit no strategy of the recipe"


@dataclass(frozen=True, slots=True)
class Unit:
    """Some buckets of pictures, by their place in the manifest."""

    number: int
    buckets: tuple[int, ...]


@dataclass
class Outcome:
    """What a pass made of a unit: conversations with their counts, and what it dropped."""

    tally: Tally = field(default_factory=Tally)
    records: list[Record] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, strategy: str, language: str, of: Sequence[Record], turns: Sequence[Turn], tokens: int) -> None:
        """Take a conversation about pictures of some records."""
        first = of[0]
        name = f"{first.id}/{strategy}/{len(self.records)}"
        images = first.images if len(of) == 1 else tuple(record.images[0] for record in of)
        origins = [origin for record in of for origin in record.meta["from"]]
        meta = {"strategy": strategy, "language": language, "from": origins}
        record = Record(name, first.source, images, dialogues=(tuple(turns),), meta=meta)
        self.records.append(record)
        self.tally.add(strategy, language, record, tokens)

    def drop(self, strategy: str, of: Record, reason: str, detail: str = "") -> None:
        """Note what is not kept."""
        self.tally.drop(strategy, reason)
        row = {"id": of.id, "source": of.source, "from": of.meta["from"], "strategy": strategy, "reason": reason}
        self.dropped.append(row | ({"detail": detail} if detail else {}))


@dataclass(frozen=True)
class Compose:
    """Makes a unit's conversations by the strategies, and lays aside what the language model is asked about."""

    layout: Layout
    recipe: DialogueRecipe

    def __call__(self, unit: Unit) -> int:
        """Gives how many conversations were made."""
        found, to_ask = compose(self._records(unit), self.recipe, load_wordings(self.recipe.wordings), unit.number)
        write_shards(to_ask, self.layout.to_ask(unit.number))
        write_outcome(self.layout.made(unit.number), self.layout.made_mark(unit.number), found)
        return len(found.records)

    def done(self, unit: Unit) -> bool:
        """Whether the strategies are through with a unit."""
        return self.layout.made_mark(unit.number).exists()

    def _records(self, unit: Unit) -> list[Record]:
        reader = ShardReader(self.layout.gathered / BUCKETS)
        return joined([record for bucket in unit.buckets for record in reader.read_shard(bucket)])


def compose(
    records: Sequence[Record], recipe: DialogueRecipe, words: Wordings, number: int
) -> tuple[Outcome, list[Record]]:
    """The conversations of records with different pictures, and the records for the language model.

    What is drawn for a record depends on the seed and its picture alone; which pictures come together, on the unit.
    """
    found = Outcome()
    drawn = [_drawn(record, recipe) for record in records]
    together = [record for record, strategy in zip(records, drawn, strict=True) if strategy == "several_pictures"]
    rng = random.Random(f"{recipe.seed}/unit {number}")
    grouped = groups(together, recipe, rng) if together else []
    placed = {id(record) for _, group in grouped for record in group}
    to_ask = []
    for record, strategy in zip(records, drawn, strict=True):
        if id(record) in placed:
            continue
        if strategy == "several_pictures":  # no other picture was left to go with it
            strategy = _drawn(record, recipe, without=strategy)
        if strategy is None:
            found.drop("none", record, NOTHING_FITS)
        elif strategy == "llm":
            to_ask.append(record)
        else:
            _take(found, strategy, _made(strategy, record, recipe, words), [record], recipe)
    for language, group in grouped:
        _take(found, "several_pictures", several_pictures(group, language, recipe, words, rng), group, recipe)
    return found, to_ask


def _drawn(record: Record, recipe: DialogueRecipe, without: Strategy | None = None) -> Strategy | None:
    among = [name for name in possible(record, recipe) if name != without]
    return draw(recipe.strategies.weights, among, _rng(record, recipe, "strategy"))


def _made(strategy: Strategy, record: Record, recipe: DialogueRecipe, words: Wordings) -> Made:
    if strategy == "as_is":
        return as_is(record, recipe)
    make = multi_turn if strategy == "multi_turn" else several_tasks
    return make(record, recipe, words, _rng(record, recipe, "words"))


def _take(found: Outcome, strategy: Strategy, made: Made, of: Sequence[Record], recipe: DialogueRecipe) -> None:
    for turns in made.dialogues:
        language = said_in(turns) if strategy == "as_is" else made.language
        found.keep(strategy, language, of, turns, recipe.picture_tokens)
    for reason in made.dropped:
        found.drop(strategy, of[0], reason)


def _rng(record: Record, recipe: DialogueRecipe, what: str) -> random.Random:
    return random.Random(f"{recipe.seed}/{what}/{picture_key(record)}")


@dataclass(frozen=True)
class Finish:
    """Writes a unit's shard: what the strategies and the language model made, and its part of the text-only talk.

    `talks` are the conversations without pictures that go into each unit, by their place among all of them.
    """

    layout: Layout
    recipe: DialogueRecipe
    talks: tuple[tuple[int, ...], ...]

    def __call__(self, unit: Unit) -> int:
        """Gives how many conversations the shard has."""
        number, layout = unit.number, self.layout
        tally = Tally()
        records: list[Record] = []
        dropped: list[dict[str, Any]] = []
        for path, mark in ((layout.made(number), layout.made_mark(number)),
                           (layout.asked(number), layout.asked_mark(number))):  # fmt: skip
            if mark.exists():
                counts = read_json(mark)
                tally.merge(Tally.from_json(counts["tally"]))
                dropped += counts["dropped"]
                records += read_records(path)
        for talk in self._talks(number):
            language = said_in(talk.dialogues[0])
            meta = {"strategy": TEXT, "language": language, "from": [f"{talk.source}/{talk.id}"]}
            records.append(Record(talk.id, talk.source, dialogues=talk.dialogues, meta=meta))
            tally.add(TEXT, language, records[-1], self.recipe.picture_tokens)
        random.Random(f"{self.recipe.seed}/order {number}").shuffle(records)
        if records:
            write_shard(records, layout.out, number)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in dropped)
        write_text(layout.dropped(number), "".join(lines))
        write_json(layout.statistics(number), {"rows": len(records), "tally": tally.to_json()})
        return len(records)

    def done(self, unit: Unit) -> bool:
        """Whether a unit's shard is written."""
        return self.layout.statistics(unit.number).exists()

    def _talks(self, number: int) -> Iterator[Record]:
        places = self.talks[number] if self.talks else ()
        if not places:
            return
        reader = ShardReader(self.layout.gathered / TEXTS)
        begin = 0
        for shard, rows in enumerate(reader.shards):
            inside = [place - begin for place in places if begin <= place < begin + rows]
            some = reader.read_shard(shard) if inside else ()
            yield from (some[place] for place in inside)
            begin += rows


def write_outcome(folder: Path, mark: Path, found: Outcome, **more: Any) -> None:
    """Write what a pass made, and last its mark with the counts and what `more` there is to say."""
    write_shards(found.records, folder)
    write_json(mark, {"tally": found.tally.to_json(), "dropped": found.dropped, **more})


def read_records(folder: Path) -> list[Record]:
    """All records of a small folder of shards."""
    reader = ShardReader(folder)
    return [record for shard in range(len(reader.shards)) for record in reader.read_shard(shard)]
