"""What a source holds, counted as it streams by: pictures and their sizes, annotations by kind and language, boxes."""

from __future__ import annotations

import bisect
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from qwenvl.sample import Box, Record, Text

KINDS = ("captions", "grounded captions", "questions", "phrases", "text lines", "documents", "conversations")
"""What a record may know about its picture."""

_HANZI = range(0x3400, 0xA000)
_KEPT_WORDS = 20_000
"""Different words or answers that are counted; when there are more, the rare ones are forgotten."""


_SAMPLE = 4000
"""Values of a kind that are kept for its median."""


def _doubling(first: float, steps: int) -> tuple[float, ...]:
    return tuple(first * 2 ** (step / 2) for step in range(steps))


EDGES: dict[str, tuple[float, ...]] = {
    "picture's width (pixels)": _doubling(16, 20),
    "picture's height (pixels)": _doubling(16, 20),
    "picture's longer side by its shorter": tuple(1 + step / 4 for step in range(21)),
    "captions a record": tuple(range(1, 21)),
    "characters of a caption": _doubling(4, 20),
    "questions a record": _doubling(1, 16),
    "characters of a question": _doubling(4, 16),
    "characters of an answer": _doubling(1, 20),
    "phrases a record": _doubling(1, 16),
    "characters of a phrase": _doubling(2, 16),
    "boxes a phrase": tuple(range(1, 21)),
    "box's share of the picture (%)": tuple(100 * 2 ** (step / 2 - 10) for step in range(21)),
    "text lines a record": _doubling(1, 20),
    "characters of a text line": _doubling(1, 16),
    "characters of a document": _doubling(16, 24),
    "turns a conversation": tuple(range(1, 31)),
}
"""What is measured, and the bins' edges: bin i holds what is less than edge i and no less than the one before."""


@dataclass
class Measure:
    """Numbers of one kind: how many, their least, mean and greatest, and a histogram."""

    edges: Sequence[float]
    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    bins: list[int] = field(init=False)
    _sample: list[float] = field(default_factory=list)
    _chance: random.Random = field(default_factory=lambda: random.Random(0))

    def __post_init__(self) -> None:
        self.bins = [0] * (len(self.edges) + 1)

    def add(self, value: float) -> None:
        """One more."""
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.bins[bisect.bisect_right(self.edges, value)] += 1
        if len(self._sample) < _SAMPLE:
            self._sample.append(value)
        elif (place := self._chance.randrange(self.count)) < _SAMPLE:
            self._sample[place] = value

    @property
    def median(self) -> float:
        """The middle value of an even sample of them."""
        return statistics.median_low(self._sample)


@dataclass
class Description:
    """Counts of a source. `kinds` counts annotations, `languages` those with words by kind and language; `common` says
    which phrases and answers occur most.
    """

    records: int = 0
    pictures: int = 0
    without_picture: int = 0
    boxes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    languages: dict[str, Counter[str]] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    common: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Count one record."""
        self.records += 1
        self.pictures += len(record.images)
        self.without_picture += not record.images
        for image in record.images:
            self._measure("picture's width (pixels)", image.width)
            self._measure("picture's height (pixels)", image.height)
            ratio = max(image.width, image.height) / min(image.width, image.height)
            self._measure("picture's longer side by its shorter", ratio)
        area = record.images[0].width * record.images[0].height if record.images else 0
        self._captions(record, area)
        self._questions(record)
        self._phrases(record, area)
        self._words(record)

    def _captions(self, record: Record, area: int) -> None:
        if record.captions:
            self._measure("captions a record", len(record.captions))
        for caption in record.captions:
            self._said("captions", caption.language)
            self.kinds["grounded captions"] += bool(caption.spans)
            self._measure("characters of a caption", len(caption.text))
            for _, _, boxes in caption.spans:
                self._boxes(boxes, area)

    def _questions(self, record: Record) -> None:
        if record.qas:
            self._measure("questions a record", len(record.qas))
        for qa in record.qas:
            self._said("questions", qa.language)
            self._measure("characters of a question", len(qa.question))
            self._measure("characters of an answer", len(qa.answer))
            self._often("answers", qa.answer)

    def _phrases(self, record: Record, area: int) -> None:
        if record.phrases:
            self._measure("phrases a record", len(record.phrases))
        for phrase in record.phrases:
            self._said("phrases", phrase.language)
            self._measure("characters of a phrase", len(phrase.text))
            self._measure("boxes a phrase", len(phrase.boxes))
            self._boxes(phrase.boxes, area)
            self._often("phrases", phrase.text)

    def _words(self, record: Record) -> None:
        if record.lines:
            self._measure("text lines a record", len(record.lines))
        for line in record.lines:
            self._said("text lines", _language(line.text))
            self._measure("characters of a text line", len(line.text))
        for text in record.texts:
            self._said("documents", _language(text))
            self._measure("characters of a document", len(text))
        for turns in record.dialogues:
            said = "".join(part.text for turn in turns for part in turn.parts if isinstance(part, Text))
            self._said("conversations", _language(said))
            self._measure("turns a conversation", len(turns))

    def _boxes(self, boxes: Iterable[Box], area: int) -> None:
        for box in boxes:
            self.boxes += 1
            if area:
                self._measure("box's share of the picture (%)", 100 * (box.x1 - box.x0) * (box.y1 - box.y0) / area)

    def _said(self, kind: str, language: str) -> None:
        self.kinds[kind] += 1
        self.languages.setdefault(kind, Counter())[language] += 1

    def _measure(self, name: str, value: float) -> None:
        if name not in self.measures:
            self.measures[name] = Measure(EDGES[name])
        self.measures[name].add(value)

    def _often(self, kind: str, words: str) -> None:
        counts = self.common.setdefault(kind, Counter())
        counts[words[:80]] += 1
        if len(counts) > _KEPT_WORDS:
            self.common[kind] = Counter(dict(counts.most_common(_KEPT_WORDS // 2)))


def describe(records: Iterable[Record]) -> Description:
    """Count all records of a source; memory does not grow with them."""
    found = Description()
    for record in records:
        found.add(record)
    return found


def _language(text: str) -> str:
    return "zh" if any(ord(character) in _HANZI for character in text) else "en"


def lines_of(found: Description) -> Iterator[tuple[str, str]]:
    """What was found, as name and value for people."""
    yield "records", f"{found.records:,}"
    yield "pictures", f"{found.pictures:,}"
    if found.without_picture:
        yield "records without a picture", f"{found.without_picture:,}"
    for kind in KINDS:
        if found.kinds[kind]:
            spread = found.languages.get(kind, Counter())
            by = ", ".join(
                f"{language} {100 * count / spread.total():.1f} %" for language, count in spread.most_common()
            )
            yield kind, f"{found.kinds[kind]:,}" + (f" ({by})" if by else "")
    if found.boxes:
        yield "boxes", f"{found.boxes:,}"
    for name in EDGES:
        if name in found.measures:
            one = found.measures[name]
            yield (
                name,
                f"{_short(one.least)} to {_short(one.most)}, mean {_short(one.total / one.count)}, "
                f"median about {_short(one.median)}",
            )
    for kind, counts in found.common.items():
        yield f"most common {kind}", "; ".join(f"{words} ({count:,})" for words, count in counts.most_common(5))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
