"""A page of a document while it is filled: the layouts put their texts on a `Sheet`; nothing is drawn here."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from qwenvl.data.synth.documents_fonts import FontFace
from qwenvl.data.synth.documents_glyphs import quantised
from qwenvl.data.synth.documents_setting import Align, Line, Type, paragraph
from qwenvl.data.synth.documents_text import TextSource, clean
from qwenvl.sample import Language

BODY, HEAD, NOTE = 0, 1, 2
"""Tones: a page gives each its colour."""

SMALLEST: dict[Language, float] = {"en": 1.0, "zh": 1.2}
"""How large a size must be, in multiples of the smallest line height that is asked for: hanzi are denser."""

_FACES_TRIED = 12


@dataclass
class Sheet:
    """A page of width × height pixels in one language, while it is filled.

    It is set in `faces`; where they lack a character, in one of `others`.
    """

    rng: random.Random
    source: TextSource
    language: Language
    faces: Sequence[FontFace]
    others: Sequence[FontFace]
    width: int
    height: int
    smallest: float
    dropped: Counter[str]
    lines: list[Line] = field(default_factory=list)
    rules: list[tuple[int, int, int, int]] = field(default_factory=list)
    figures: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.smallest *= SMALLEST[self.language]
        self.body = self.rng.choice(self.faces)
        # mostly one family of type a page, as printers do
        self.heading = self.body if self.rng.random() < 0.5 else self.rng.choice(self.faces)
        self.margin = round(self.rng.uniform(0.04, 0.12) * min(self.width, self.height))

    def size(self, wanted: float) -> int:
        """A size that is kept in the cache, not below the smallest."""
        return quantised(max(self.smallest * 1.12, wanted))

    def body_size(self, width: float) -> int:
        """For a column so wide: as many letters a line as in notes or in dense print."""
        letters = self.rng.uniform(26, 78) * 0.47 if self.language == "en" else self.rng.uniform(11, 38)
        return self.size(min(width / letters, self.height / 12))

    def type(self, face: FontFace, size: int, tone: int = BODY, pitch: float | None = None) -> Type:
        """A look; Chinese lines stand further apart."""
        wide = self.rng.uniform(1.12, 1.5) if self.language == "en" else self.rng.uniform(1.25, 1.8)
        return Type(face, size, pitch or wide, tone)

    def text(self, face: FontFace, count: int) -> tuple[str, FontFace]:
        """Sentences, and a face that has all their characters: `face` where it does. Maybe none."""
        found = [clean(text) for text in self.source.sentences(self.rng, self.language, count)]
        return self.fit([text for text in found if text], face)

    def fit(self, texts: Sequence[str], face: FontFace) -> tuple[str, FontFace]:
        """The texts that `face` has the characters of, joined; where it has none, those of another face."""
        between = " " if self.language == "en" else ""
        others = self.rng.sample(self.others, min(_FACES_TRIED, len(self.others)))
        # the last one comes with the package and has all common hanzi
        for one in (face, *self.faces, *others, self.others[0]):
            kept = [text for text in texts if one.has(text)]
            if kept:
                self.dropped["sentence: no font has all its characters"] += len(texts) - len(kept)
                return between.join(kept), one
        self.dropped["sentence: no font has all its characters"] += len(texts)
        return "", face

    def short(self, face: FontFace) -> tuple[str, FontFace]:
        """A heading, and a face that has its characters."""
        text = clean(self.source.heading(self.rng, self.language))
        return self.fit([text] if text else [], face)

    def put(self, text: str, look: Type, x: float, y: float, width: float, align: Align, indent: float = 0) -> float:
        """Set a paragraph; gives the y below it, or `y` where it does not fit."""
        lines = paragraph(text, look, x, y, width, align, indent) if text else []
        if lines is None:
            self.dropped["paragraph: wider than its column"] += 1
            return y
        below = y + len(lines) * look.pitch * look.size
        if not lines or below > self.height - self.margin / 2:
            return y
        self.lines += lines
        return below
