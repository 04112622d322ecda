"""What a benchmark is: where its data lies, what is asked of which picture, how the answer is decoded and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qwenvl.data.sources.public import read_entries
from qwenvl.data.sources.public.entry import Entry
from qwenvl.sample import Box
from qwenvl.serve.engine import Generation

Kind = Literal["generate", "refer", "chat", "rank"]
"""Words are generated; the box of an expression is; words in a dialogue; or given options are ranked by mean loss."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to answer. `prompt` is everything that stands after the picture, of a text set everything.

    `entry` says where the picture is, None without one. `answers` are the true ones, `answer` the one that a few-shot
    example shows. Of `options` (as they are scored, " A") the model takes one. `phrase` and `box` (in pixels of a
    picture of `entry.size`) are those of referring. `meta` holds what the metrics need beside.
    """

    id: str
    prompt: str
    entry: Entry | None = None
    answers: tuple[str, ...] = ()
    answer: str = ""
    options: tuple[str, ...] = ()
    phrase: str = ""
    box: Box | None = None
    category: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said about an item. `size` is (width, height) of the picture shown, None where there was none."""

    item: Item
    text: str
    size: tuple[int, int] | None = None


Each = Callable[[Answer], float]
"""A metric of one answer, in 0…1."""

Whole = Callable[[Sequence[Answer]], Sequence[float] | Mapping[str, float]]
"""A metric of all answers: what each adds to their mean (CIDEr), or numbers by name that are no means (BLEU, MME)."""


@dataclass(frozen=True, slots=True)
class Data:
    """Where an annotation lies: `format` names its reader (`qwenvl.data.sources.public`) where it has one, `query` that
    reader's options, `pictures` folders in which the pictures are looked for, in this order.
    """

    path: Path
    format: str = ""
    query: str = ""
    pictures: tuple[Path, ...] = ()

    def entries(self) -> Iterator[Entry]:
        """What the annotation says. Raises DataError at the first row that can not be read: none may be missing."""
        return read_entries(f"{self.format}:{self.path}" + (f"?{self.query}" if self.query else ""), strict=True)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark in the protocol of the paper's evaluation.

    `file` is the annotation's usual place below the data folder, `train` that of the split that few-shot examples are
    from ("" where there are none), `pictures` folders in which the pictures may lie (then the annotation's own).
    `published` is how many items the split is known to have. `each` and `whole` are metrics by name, the first is the
    one that the paper reports in `table`. `form` is the prompt with its fields, for people; `where` says where the data
    comes from.
    """

    name: str
    title: str
    split: str
    table: str
    file: str
    where: str
    form: str
    items: Callable[[Data], Iterator[Item]]
    format: str = ""
    query: str = ""
    train: str = ""
    pictures: tuple[str, ...] = ()
    published: int | None = None
    kind: Kind = "generate"
    decoding: Generation = field(default_factory=lambda: Generation(max_new_tokens=10))
    note: str = ""
    shots: int = 0
    each: Mapping[str, Each] = field(default_factory=dict)
    whole: Mapping[str, Whole] = field(default_factory=dict)

    @property
    def few_shot(self) -> bool:
        """Whether examples may be shown: captions and questions with a training split."""
        return bool(self.train) and self.kind == "generate"

    @property
    def decoded(self) -> str:
        """How answers come about, for people."""
        if self.kind == "rank":
            return self.note or "the option with the lowest mean loss"
        d = self.decoding
        how = "greedy" if d.temperature == 0 else f"sampled, temperature {d.temperature:g}, top-p {d.top_p:g}"
        least = f", at least {d.min_new_tokens}" if d.min_new_tokens else ""
        return f"{how}, at most {d.max_new_tokens} new tokens{least}" + (f", {self.note}" if self.note else "")
