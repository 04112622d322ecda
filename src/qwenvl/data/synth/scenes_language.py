"""What can be said of a scene in English and Chinese: captions, referring expressions and descriptions.

Everything is regular and follows the reading order of the things. An expression is given only if it fits exactly what
it names: places decide relations only where they differ clearly, and nothing is called by a name that another thing
also answers to.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from qwenvl.data.synth.scenes_world import COLOURS, SIZES, Thing, article, number, pick, plural_noun
from qwenvl.sample import Box, Caption, Language, Phrase, TextLine

DIRECTIONS: dict[str, tuple[str, tuple[int, int]]] = {
    "left of": ("左边", (-1, 0)),
    "right of": ("右边", (1, 0)),
    "above": ("上方", (0, -1)),
    "below": ("下方", (0, 1)),
}
"""Relation → its Chinese word and the direction in which it looks."""


class Names:
    """The names of a scene's things in one language, and which of them single a thing out.

    `nouns`, `colours`, `shorts` and `fulls` are parallel to `things`; the counters say how many things answer to a
    name.
    """

    def __init__(self, things: Sequence[Thing], language: Language, size: int) -> None:
        self.things = things
        self.language: Language = language
        self.size = size
        self.nouns = [t.noun(language) for t in things]
        self.shorts = [t.short(language) for t in things]
        self.fulls = [t.full(language) for t in things]
        self._pairs = list(zip(things, self.shorts, strict=True))
        self.noun_count = Counter(self.nouns)
        self.short_count = Counter(self.shorts)
        self.full_count = Counter(self.fulls)
        self.colour_count = Counter(t.colour for t in things)

    def sized(self, index: int) -> str | None:
        """The shape with its size: "large star", "大星星"; None for a digit or a sign."""
        thing = self.things[index]
        if thing.kind != "shape":
            return None
        return f"{thing.size} {thing.shape}" if self.language == "en" else SIZES[thing.size] + self.nouns[index]

    def expressions(self, index: int) -> list[str]:
        """Names without article that fit this thing and no other, the shortest first; empty for one of two alike."""
        found = []
        if self.noun_count[self.nouns[index]] == 1:
            found.append(self.nouns[index])
        if self.short_count[self.shorts[index]] == 1:
            found.append(self.shorts[index])
        sized = self.sized(index)
        if sized and self.noun_count[self.nouns[index]] > 1:
            thing = self.things[index]
            if sum(t.shape == thing.shape and t.size == thing.size for t in self.things) == 1:
                found.append(sized)
        if self.full_alone(index):
            found.append(self.fulls[index])
        return found

    def full_alone(self, index: int) -> bool:
        """Whether the full name fits this thing alone; a solid thing's has no word for it and fits a striped one."""
        thing = self.things[index]
        if thing.kind == "shape" and thing.fill == "solid" and self.short_count[self.shorts[index]] > 1:
            return sum(t.size == thing.size for t, s in self._pairs if s == self.shorts[index]) == 1
        return self.full_count[self.fulls[index]] == 1

    def best(self, index: int) -> str | None:
        """The expression that people would use: colour and noun if that is enough, else a longer one; None if nothing
        singles it out.
        """
        if self.short_count[self.shorts[index]] == 1:
            return self.the(self.shorts[index])
        found = self.expressions(index)
        return self.the(found[-1]) if found else None

    def the(self, name: str) -> str:
        """The name with the definite article, where the language has one."""
        return f"the {name}" if self.language == "en" else name

    def relation(self, a: int, b: int, direction: str) -> bool | None:
        """Whether thing `a` is e.g. left of thing `b`: None where their middles are less than a twelfth of the picture
        apart.
        """
        dx, dy = DIRECTIONS[direction][1]
        (ax, ay), (bx, by) = self.things[a].centre, self.things[b].centre
        ahead = (ax - bx) * dx + (ay - by) * dy
        return None if abs(ahead) < self.size / 12 else ahead > 0


def caption(names: Names) -> Caption:
    """One sentence that names every thing in reading order, each grounded; things alike stand together ("two small red
    stars").
    """
    places: dict[str, list[Box]] = {}
    first: dict[str, Thing] = {}
    for thing, full in zip(names.things, names.fulls, strict=True):
        places.setdefault(full, []).append(thing.box)
        first.setdefault(full, thing)
    text, spans = "", []
    for position, (full, boxes) in enumerate(places.items()):
        last = position == len(places) - 1
        count = len(boxes)
        if names.language == "en":
            text += "" if position == 0 else " and " if last else ", "
            words = article(full) if count == 1 else f"{number(count, 'en')} {first[full].full('en', plural=True)}"
        else:
            text += "" if position == 0 else "和" if last else "、"
            words = f"{number(count, 'zh')}个{full}"
        spans.append((len(text), len(text) + len(words), tuple(boxes)))
        text += words
    return Caption(text + ("." if names.language == "en" else "。"), names.language, tuple(spans))


def phrases(names: Names, rng: random.Random) -> list[Phrase]:
    """Referring expressions: each thing's names that fit it alone, relations, and plurals with every box.

    Each thing has one phrase that carries its description for grounded captioning (`referring` is false if a twin has
    the same name).
    """
    language, things = names.language, names.things
    found: list[Phrase] = []
    for index, thing in enumerate(things):
        boxes = (thing.box,)
        unique = names.expressions(index)
        full = names.fulls[index]
        described = article(full) if language == "en" else f"一个{full}"
        for name in unique:
            if name != full:
                found.append(Phrase(names.the(name), boxes, language))
        found.append(Phrase(names.the(full), boxes, language, names.full_alone(index), described))
        related = related_expression(names, index, rng)
        if related is not None:
            found.append(Phrase(related, boxes, language))
    for noun, count in names.noun_count.items():
        if count > 1:
            alike = tuple(t.box for t, n in zip(things, names.nouns, strict=True) if n == noun)
            found.append(Phrase(f"the {plural_noun(noun)}" if language == "en" else f"所有的{noun}", alike, language))
    for colour, count in names.colour_count.items():
        alike = tuple(t.box for t in things if t.colour == colour)
        if count > 1:
            words = f"the {colour} objects" if language == "en" else f"所有{COLOURS[colour][0]}的物体"
            found.append(Phrase(words, alike, language))
        elif len(things) > 1:
            words = f"the {colour} object" if language == "en" else f"{COLOURS[colour][0]}的物体"
            found.append(Phrase(words, alike, language))
    return found


def related_expression(names: Names, index: int, rng: random.Random) -> str | None:
    """The thing by its noun and its place beside another: "the digit left of the blue ring"; None if that would not be
    clear.
    """
    others = [i for i in range(len(names.things)) if i != index and names.short_count[names.shorts[i]] == 1]
    if not others:
        return None
    anchor, direction = pick(rng, others), pick(rng, tuple(DIRECTIONS))
    noun = names.nouns[index]
    for i, other in enumerate(names.nouns):
        # the thing itself must stand clearly on that side, every other of its kind clearly not
        if other == noun and i != anchor and names.relation(i, anchor, direction) is not (i == index):
            return None
    if names.language == "en":
        return f"the {noun} {direction} the {names.shorts[anchor]}"
    return f"{names.shorts[anchor]}{DIRECTIONS[direction][0]}的{noun}"


def lines(things: Sequence[Thing]) -> list[TextLine]:
    """The signs' texts in reading order."""
    return [TextLine(t.label, t.quad) for t in things if t.quad is not None]
