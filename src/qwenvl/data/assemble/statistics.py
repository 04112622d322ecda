"""What is counted of a corpus: samples by task, source and language; lengths in tokens; how full packed rows get."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwenvl.data.assemble.join import Joined
from qwenvl.data.assemble.judge import samples_in
from qwenvl.data.clean.rules.script import language_of
from qwenvl.data.pack import Packer
from qwenvl.data.pack import join as join_groups
from qwenvl.data.record_json import record_from_json
from qwenvl.sample import Task
from qwenvl.tasks import TASKS, Wording
from qwenvl.tasks.offered import FIELDS, OFFERED
from qwenvl.text.render import IGNORED, Example, render
from qwenvl.text.tokenizer import QwenTokenizer

MEASURED = 200
"""Records of a shard, at most, whose samples of a task are turned into tokens to measure them."""

MEASURED_IN_ALL = 50_000
"""About how many of all shards: fewer of each where there are many shards, two at least."""

PACKED = 20_000
"""Groups of samples that are packed for the card, evenly spread over what was measured."""

EDGES = tuple(float(round(16 * 2 ** (step / 2))) for step in range(18))
"""Of the histograms of lengths in tokens: 16 to about 6,000, two bins for each doubling."""

_LANGUAGE_AT = {"captions": 1, "qas": 2, "phrases": 2}


@dataclass
class TaskCounts:
    """Of one task: `records` with samples of it, `samples` by source, annotations by language.

    Of `measured` samples: all `tokens`, those `supervised`, the `longest` one's, a histogram by `EDGES` (`bins`), how
    many fit no row (`too_long`), and the `lengths` of groups that share a picture's slots.
    """

    records: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    measured: int = 0
    tokens: int = 0
    supervised: int = 0
    longest: int = 0
    too_long: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    lengths: list[int] = field(default_factory=list)

    def measure(self, example: Example) -> None:
        """Add one sample's tokens."""
        count = len(example.ids)
        self.measured += 1
        self.tokens += count
        self.supervised += sum(label != IGNORED for label in example.labels)
        self.longest = max(self.longest, count)
        self.bins[bisect.bisect_right(EDGES, count)] += 1

    def merge(self, other: TaskCounts) -> None:
        """Add those of another shard."""
        self.records += other.records
        self.samples.update(other.samples)
        self.languages.update(other.languages)
        self.measured += other.measured
        self.tokens += other.tokens
        self.supervised += other.supervised
        self.longest = max(self.longest, other.longest)
        self.too_long += other.too_long
        self.bins = [own + theirs for own, theirs in zip(self.bins, other.bins, strict=True)]
        self.lengths += other.lengths


@dataclass
class Counts:
    """Of a shard, or of all."""

    records: int = 0
    pictures: int = 0
    joined: int = 0
    twice: int = 0
    tasks: dict[Task, TaskCounts] = field(default_factory=dict)

    def add(self, joined: Joined, records: int) -> None:
        """Count one record of the corpus, made of `records`."""
        self.records += 1
        self.pictures += len(joined.found["pictures"])
        self.joined += records - 1
        self.twice += joined.twice
        for task, places in joined.found["meta"][OFFERED].items():
            counts = self.tasks.setdefault(task, TaskCounts())
            counts.records += bool(samples_in(task, places))
            counts.samples.update(joined.given[task])
            counts.languages.update(_languages(task, joined.found, places))

    def merge(self, other: Counts) -> None:
        """Add those of another shard."""
        self.records += other.records
        self.pictures += other.pictures
        self.joined += other.joined
        self.twice += other.twice
        for task, theirs in other.tasks.items():
            self.tasks.setdefault(task, TaskCounts()).merge(theirs)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "tasks": {task: dict(vars(counts)) for task, counts in self.tasks.items()}}

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Counts:
        """The counts whose `plain` this is."""
        tasks = {
            task: TaskCounts(
                **{**found, "samples": Counter(found["samples"]), "languages": Counter(found["languages"])}
            )
            for task, found in plain["tasks"].items()
        }
        return Counts(**{**plain, "tasks": tasks})


def _languages(task: Task, found: Mapping[str, Any], places: Sequence[int]) -> Counter[str]:
    """The language of each sample."""
    name = FIELDS[task]
    said = [found[name][place] for place in places]
    at = _LANGUAGE_AT.get(name)
    if at is not None:
        return Counter(annotation[at] for annotation in said)
    if task == "ocr":
        return Counter([language_of(" ".join(text for text, _ in said))]) if said else Counter()
    if task == "text":
        return Counter(map(language_of, said))
    return Counter(language_of(" ".join(p[1] for _, ps in turns for p in ps if p[0] == "text")) for turns in said)


class Measure:
    """Turns the samples of a shard's first records into tokens, as training does."""

    def __init__(self, tokenizer: QwenTokenizer, slots: int, sequence: int, wording: Wording, shards: int) -> None:
        """`shards` is how many there are in all."""
        self._tokenizer, self._slots, self._sequence, self._wording = tokenizer, slots, sequence, wording
        self._most = max(2, min(MEASURED, MEASURED_IN_ALL // max(1, shards)))

    def add(self, counts: Counts, id: str, found: Mapping[str, Any]) -> None:
        """Measure the samples that a record gives to tasks of which not enough were measured yet."""
        places: Mapping[Task, Sequence[int]] = found["meta"][OFFERED]
        wanted = [task for task in places if counts.tasks[task].records <= self._most]
        if not wanted:
            return
        contents = [str(number).encode() for number in range(len(found["pictures"]))]
        record = record_from_json(id, "", found, contents)
        for task in wanted:
            rng = random.Random(f"{id}/{task}")
            samples = TASKS[task](record, rng, 1 if task == "ocr" else None, self._wording)
            examples = [render(sample, self._tokenizer, self._slots) for sample in samples]
            of = counts.tasks[task]
            for example in examples:
                of.measure(example)
            packer = Packer(self._sequence)
            of.lengths += [len(join_groups([group]).ids) for group in packer.groups(examples, 0)]
            of.too_long += packer.dropped.total()


@dataclass(frozen=True)
class Fill:
    """How packed rows of one task get: groups packed, rows made of them, and the share of tokens in the rows."""

    groups: int
    rows: int
    share: float


def fill_of(task: Task, lengths: Sequence[int], sequence: int, buffer: int = 64) -> Fill:
    """Pack groups of these lengths with training's packer. The last rows, which only lack what would follow, are not
    counted where there are others.
    """
    step = max(1, -(-len(lengths) // PACKED))
    packer = Packer(sequence, buffer)
    rows: list[int] = []
    chosen = lengths[::step]
    for number, length in enumerate(chosen):
        example = Example([0] * length, [IGNORED] * length, (), task, "", "")
        rows += [len(row.ids) for row in packer.add([example], number)]
    rows = rows or [len(row.ids) for row in packer.flush()]
    return Fill(len(chosen), len(rows), sum(rows) / (len(rows) * sequence) if rows else 0.0)
