"""Questions about a scene with short answers, in English and Chinese."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from qwenvl.data.synth.scenes_language import DIRECTIONS, Names
from qwenvl.data.synth.scenes_world import COLOURS, FILLS, HELD_OUT, SHAPES, SIZES, pick, plural_noun
from qwenvl.sample import QA

Add = Callable[[str, str, str, str], None]
"""Takes a question in English and Chinese and its answer in English and Chinese; keeps those of the language asked for.
"""


def questions(names: Names, rng: random.Random, held_out: bool = False, places: bool = True) -> list[QA]:
    """Every kind of question that the scene answers without doubt: reading, colour, shape, size, fill, count,
    existence, relations.

    Yes and no are equally likely for existence (one of each) and for relations (one of each). `held_out` allows
    distractors of the pairs that only the test set has; without `places` nothing is asked that needs to see where
    things are.
    """
    found: list[QA] = []
    english = names.language == "en"

    def add(question_en: str, question_zh: str, answer_en: str, answer_zh: str, reads_text: bool = False) -> None:
        if english:
            found.append(QA(question_en, answer_en, "en", reads_text))
        else:
            found.append(QA(question_zh, answer_zh, "zh", reads_text))

    for index, thing in enumerate(names.things):
        noun, short = names.nouns[index], names.shorts[index]
        one_noun, one_short = names.noun_count[noun] == 1, names.short_count[short] == 1
        colour = COLOURS[thing.colour][0]
        if one_noun:
            add(f"What color is the {noun}?", f"{noun}是什么颜色的？", thing.colour, colour)
        if names.colour_count[thing.colour] == 1 and len(names.things) > 1:
            add(f"What is the {thing.colour} object?", f"{colour}的物体是什么？", noun, noun)
        name = noun if one_noun else short if one_short else None
        if thing.kind == "sign" and name:
            add(f"What does the {name} say?", f"{name}上写着什么？", thing.label, thing.label, True)
        elif thing.kind == "digit" and name:
            asked = "Which digit is it?" if name == "digit" else f"Which digit is the {name}?"
            add(asked, f"{name}是几？", thing.label, thing.label)
        elif thing.kind == "shape" and one_short:
            add(f"Is the {short} large or small?", f"{short}是大还是小？", thing.size, SIZES[thing.size])
            add(f"What is the fill of the {short}?", f"{short}是什么填充？", thing.fill, FILLS[thing.fill])
    _counts(names, rng, add)
    _existence(names, rng, held_out, add)
    if places:
        _relations(names, rng, add)
    return found


def _counts(names: Names, rng: random.Random, add: Add) -> None:
    """How many objects there are, how many of a kind and how many of a colour: often several, now and then none."""
    total = str(len(names.things))
    add("How many objects are there?", "有几个物体？", total, total)
    noun = _counted(names.noun_count, _NOUNS[names.language], rng)
    count = str(names.noun_count[noun])
    add(f"How many {plural_noun(noun)} are there?", f"有几个{noun}？", count, count)
    colour = _counted(names.colour_count, tuple(COLOURS), rng)
    count = str(names.colour_count[colour])
    add(f"How many {colour} objects are there?", f"有几个{COLOURS[colour][0]}的物体？", count, count)


def _counted(counts: Counter[str], every: Sequence[str], rng: random.Random) -> str:
    """Something to count, so chosen that "1" is not nearly always the answer."""
    draw = rng.random()
    if draw < 0.25:
        return pick(rng, every)
    several = [name for name, count in counts.items() if count > 1]
    return pick(rng, several if several and draw < 0.85 else tuple(counts))


def absent_pair(names: Names, rng: random.Random, held_out: bool) -> tuple[str, str] | None:
    """A colour and a shape that do not occur together, most often with one of the two in the scene; None if tries run
    out.
    """
    present = {(t.colour, t.shape) for t in names.things}
    for _ in range(8):
        near = pick(rng, names.things)
        draw = rng.random()
        colour = near.colour if draw < 0.4 else pick(rng, tuple(COLOURS))
        shape = near.shape if 0.4 <= draw < 0.8 else pick(rng, _KINDS)
        if (colour, shape) not in present and (held_out or (colour, shape) not in HELD_OUT):
            return colour, shape
    return None


def pair_name(pair: tuple[str, str], language: str) -> str:
    """A colour–noun pair as it is called: "red star", "红色的星星"."""
    if language == "en":
        return f"{pair[0]} {pair[1]}"
    return f"{COLOURS[pair[0]][0]}的{_CHINESE_NOUNS[pair[1]]}"


def _existence(names: Names, rng: random.Random, held_out: bool, add: Add) -> None:
    """One question answered yes and one answered no."""
    absent = absent_pair(names, rng, held_out)
    if absent is None:
        return
    there = pick(rng, names.things)
    for pair, yes in (((there.colour, there.shape), True), (absent, False)):
        add(
            f"Is there a{'n' if pair[0] == 'orange' else ''} {pair_name(pair, 'en')}?",
            f"有{pair_name(pair, 'zh')}吗？",
            "yes" if yes else "no",
            "有" if yes else "没有",
        )


def _relations(names: Names, rng: random.Random, add: Add) -> None:
    """Where two things stand to each other, one yes and one no, and which of the two is larger."""
    clear = [i for i in range(len(names.things)) if names.short_count[names.shorts[i]] == 1]
    if len(clear) < 2:
        return
    a = pick(rng, clear)
    b = pick(rng, [i for i in clear if i != a])
    one, other = names.shorts[a], names.shorts[b]
    axis = ("left of", "right of") if rng.random() < 0.5 else ("above", "below")
    if names.relation(a, b, axis[0]) is None:
        axis = ("above", "below") if axis[0] == "left of" else ("left of", "right of")
    if names.relation(a, b, axis[0]) is not None:
        for direction in axis:
            yes = bool(names.relation(a, b, direction))
            add(
                f"Is the {one} {direction} the {other}?",
                f"{one}在{other}的{DIRECTIONS[direction][0]}吗？",
                "yes" if yes else "no",
                "是" if yes else "不是",
            )
    areas = names.things[a].area, names.things[b].area
    if max(areas) > 1.5 * min(areas):
        larger = one if areas[0] > areas[1] else other
        add(f"Which is larger, the {one} or the {other}?", f"{one}和{other}哪个更大？", larger, larger)


_KINDS = (*SHAPES, "digit", "sign")
_CHINESE_NOUNS = {**SHAPES, "digit": "数字", "sign": "牌子"}
_NOUNS = {"en": _KINDS, "zh": tuple(_CHINESE_NOUNS.values())}
