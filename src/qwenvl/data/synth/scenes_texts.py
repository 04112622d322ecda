"""Documents without a picture, in the world's words: scenes that are imagined, described, asked about and measured.

Stage 0 trains the decoder on them. What a picture would show is told in a sentence first, so that the answers after it
can be looked up: the skill that later has to look the same things up in the picture. Places are written as the renderer
writes boxes, as plain words.
"""

from __future__ import annotations

import random
from dataclasses import replace

from qwenvl.data.synth.scenes_language import Names, caption
from qwenvl.data.synth.scenes_questions import questions
from qwenvl.data.synth.scenes_world import Thing, article, pick, random_things, reading_order
from qwenvl.sample import Box, Language
from qwenvl.text.geometry import box_to_grid
from qwenvl.text.markup import box_text

_SIDE = 96  # the imagined pictures' side in pixels


def texts(rng: random.Random) -> tuple[str, str]:
    """An English and a Chinese document about imagined scenes."""
    return _document(rng, "en"), _document(rng, "zh")


def imagine(rng: random.Random) -> list[Thing]:
    """Things at places of a picture that is not drawn, in reading order; never a pair of the compositional hold-out."""
    placed: list[Thing] = []
    for thing in random_things(rng, 1.0, most=4):
        width: float = thing.pixels
        height: float = thing.pixels
        if thing.kind == "sign":  # about what its text takes
            letter = 0.6 if thing.language == "en" else 1.0
            width, height = min(_SIDE - 4, thing.pixels * (len(thing.label) * letter + 0.5)), 1.4 * thing.pixels
        for _ in range(6):
            x, y = 1 + rng.random() * (_SIDE - 2 - width), 1 + rng.random() * (_SIDE - 2 - height)
            if all(x + width < t.box.x0 or t.box.x1 < x or y + height < t.box.y0 or t.box.y1 < y for t in placed):
                placed.append(replace(thing, box=Box(x, y, x + width, y + height)))
                break
    return reading_order(placed, _SIDE)


def _document(rng: random.Random, language: Language) -> str:
    names = Names(imagine(rng), language, _SIDE)
    draw = rng.random()
    if draw < 0.45:
        told = "The picture shows " if language == "en" else "图里有"
        return told + caption(names).text + _asked(names, rng, 3, places=False)
    if draw < 0.9:
        return _places(names, rng) + _asked(names, rng, int(rng.random() * 3))
    return caption(names).text


def _asked(names: Names, rng: random.Random, count: int, places: bool = True) -> str:
    """Some questions with their answers, each on its line, as the task of visual questions writes them."""
    between = " Answer: " if names.language == "en" else "回答："
    found = questions(names, rng, places=places) if count else []
    return "".join(f"\n{qa.question}{between}{qa.answer}" for qa in rng.sample(found, min(len(found), count)))


def _places(names: Names, rng: random.Random) -> str:
    """Where each thing is, in cells of the grid, and then what to look up: the place of a thing and the thing at a
    place.
    """
    english = names.language == "en"
    where = [box_text(box_to_grid(t.box, _SIDE, _SIDE)) for t in names.things]
    told = [
        f"There is {article(full)} at {place}." if english else f"一个{full}在{place}。"
        for full, place in zip(names.fulls, where, strict=True)
    ]
    text = (" " if english else "").join(told)
    clear = [i for i in range(len(where)) if names.best(i)]
    if not clear:
        return text
    asked = pick(rng, clear)
    name = names.best(asked)
    text += f"\nWhere is {name}? {where[asked]}" if english else f"\n{name}在哪里？{where[asked]}"
    asked = pick(rng, clear)
    if english:
        return text + f"\nWhat is at {where[asked]}? This is {article(names.fulls[asked])}"
    return text + f"\n{where[asked]}是什么？这是一个{names.fulls[asked]}"
