"""The nano world's vocabulary: what a scene can hold, how things are called, and which combinations are kept for the
test.

A `Thing` is one object of a scene: a shape, a handwritten digit or a sign. Its names are regular on purpose: a small
model has to learn them from a few thousand scenes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from qwenvl.sample import Box, Language, Quad

_T = TypeVar("_T")

Split = Literal["train", "val", "test"]
Size = Literal["small", "large"]
Fill = Literal["solid", "outlined", "striped", "dotted"]
Kind = Literal["shape", "digit", "sign"]

LANGUAGES: tuple[Language, ...] = ("en", "zh")

COLOURS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "red": ("红色", (220, 40, 40)),
    "green": ("绿色", (30, 150, 60)),
    "blue": ("蓝色", (40, 90, 225)),
    "yellow": ("黄色", (245, 220, 50)),
    "orange": ("橙色", (245, 135, 25)),
    "purple": ("紫色", (130, 50, 175)),
    "pink": ("粉色", (245, 145, 190)),
    "white": ("白色", (247, 247, 247)),
    "black": ("黑色", (22, 22, 22)),
}
"""Colour → its Chinese name and its RGB before jitter."""

SHAPES: dict[str, str] = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "星星",
    "heart": "心形",
    "cross": "十字",
    "ring": "圆环",
    "diamond": "菱形",
    "pentagon": "五边形",
    "moon": "月亮",
}

FILLS: dict[Fill, str] = {"solid": "实心", "outlined": "空心", "striped": "条纹", "dotted": "圆点"}
SIZES: dict[Size, str] = {"small": "小", "large": "大"}

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "pentagon"),
        ("green", "heart"),
        ("blue", "moon"),
        ("yellow", "cross"),
        ("orange", "ring"),
        ("purple", "square"),
        ("pink", "triangle"),
        ("white", "diamond"),
        ("black", "circle"),
        ("purple", "star"),
    }
)
"""Colour–shape pairs that only test scenes hold or speak of: the compositional hold-out. Every colour and every shape
is in one.
"""

_ENGLISH = """
open shop cafe bus taxi stop exit food book park hotel bank milk tea fish cake sale free left right push pull
north south zoo gym bar toys shoe bike farm gate hall ice jazz king lamp mall news oil pizza road salt
train up view wine yes zone
"""
_CHINESE = """
大 小 山 水 火 中 上 下 人 口 日 月 木 米 茶 车 门 书 牛 鱼
中国 北京 上海 出口 入口 大门 火车 公园 书店 茶馆 米饭 牛奶 水果 山西 广州 天空 小心 开门 关门 欢迎
"""

ENGLISH_WORDS: tuple[str, ...] = tuple(_ENGLISH.split())
"""What signs say in English."""

CHINESE_WORDS: tuple[str, ...] = tuple(_CHINESE.split())
"""What signs say in Chinese: characters that stay legible in small pictures."""

_NUMBERS = {"en": ("no", "one", "two", "three", "four", "five"), "zh": ("零", "一", "两", "三", "四", "五")}


NOWHERE = Box(0, 0, 0, 0)
"""The box of a thing that has no place yet."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene. `box` is in pixels around its ink; `quad` is around a sign's text.

    `label` is the digit of a digit and the word of a sign; `shape`, `fill` and `size` say nothing about these two.
    `instance` picks the handwriting of a digit, `angle` the turn in degrees (counter-clockwise) and `pixels` the
    nominal side it is drawn at.
    """

    kind: Kind
    shape: str
    colour: str
    fill: Fill = "solid"
    size: Size = "large"
    label: str = ""
    language: Language = "en"
    pixels: int = 0
    angle: int = 0
    instance: int = 0
    box: Box = NOWHERE
    quad: Quad | None = None

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return (self.box.x0 + self.box.x1) / 2, (self.box.y0 + self.box.y1) / 2

    @property
    def area(self) -> float:
        """The box's area in square pixels."""
        return (self.box.x1 - self.box.x0) * (self.box.y1 - self.box.y0)

    def noun(self, language: Language) -> str:
        """Star, digit or sign."""
        if language == "en":
            return self.shape
        return SHAPES.get(self.shape) or {"digit": "数字", "sign": "牌子"}[self.shape]

    def short(self, language: Language) -> str:
        """Colour and noun: "red star", "红色的星星"."""
        if language == "en":
            return f"{self.colour} {self.shape}"
        return f"{COLOURS[self.colour][0]}的{self.noun('zh')}"

    def full(self, language: Language, plural: bool = False) -> str:
        """Everything: "large striped red star", "red digit 7", 'green sign saying "open"'; "红色的大条纹星星"."""
        if language == "zh":
            colour = COLOURS[self.colour][0]
            if self.kind == "digit":
                return f"{colour}的数字{self.label}"
            if self.kind == "sign":
                return f"写着“{self.label}”的{colour}牌子"
            return f"{colour}的{SIZES[self.size]}{'' if self.fill == 'solid' else FILLS[self.fill]}{SHAPES[self.shape]}"
        noun = plural_noun(self.shape) if plural else self.shape
        if self.kind == "digit":
            return f"{self.colour} {noun} {self.label}"
        if self.kind == "sign":
            return f'{self.colour} {noun} saying "{self.label}"'
        return f"{self.size} {'' if self.fill == 'solid' else self.fill + ' '}{self.colour} {noun}"

    @property
    def held_out(self) -> bool:
        """Whether this is a combination that only the test set holds."""
        return (self.colour, self.shape) in HELD_OUT


def plural_noun(noun: str) -> str:
    """English plural of a noun of this world."""
    return noun + ("es" if noun.endswith("s") else "s")


def number(count: int, language: Language) -> str:
    """A count up to five in words, as before a noun ("two", "两")."""
    return _NUMBERS[language][count]


def article(words: str) -> str:
    """`words` with its English indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def random_stream(seed: int, index: int, split: Split, purpose: str = "scene") -> random.Random:
    """The random numbers of one scene: a hash of everything that names it, so that splits never share one."""
    name = f"{purpose}|{split}|{seed}|{index}".encode()
    return random.Random(int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "big"))


def fills_for(shape: str, size: Size) -> tuple[Fill, ...]:
    """The fills that stay recognisable: thin shapes keep to solid when small, an outlined circle would be a ring."""
    if shape == "ring":
        return ("solid",)
    if shape in ("moon", "cross"):
        return ("solid",) if size == "small" else ("solid", "striped")
    if shape == "circle":
        return ("solid", "striped", "dotted")
    return ("solid", "outlined", "striped") if size == "small" else ("solid", "outlined", "striped", "dotted")


def random_thing(rng: random.Random, kind: Kind, scale: float, held_out: bool = False) -> Thing:
    """A thing with random attributes and no place. `scale` is the picture's side / 96; `held_out` takes a pair of
    `HELD_OUT`.
    """
    colour = pick(rng, _COLOUR_NAMES)
    if kind == "digit":
        pixels, label = 24 + int(rng.random() * 14), str(int(rng.random() * 10))
        instance = int(rng.random() * (1 << 20))
        return Thing("digit", "digit", colour, label=label, pixels=max(8, round(pixels * scale)), instance=instance)
    if kind == "sign":
        language: Language = "en" if rng.random() < 0.5 else "zh"
        word = pick(rng, ENGLISH_WORDS if language == "en" else CHINESE_WORDS)
        pixels = (16 if language == "en" else 20) + 2 * int(rng.random() * 3)
        angle = 0 if rng.random() < 0.4 else pick(rng, (-10, -5, 5, 10))
        return Thing(
            "sign", "sign", colour, label=word, language=language, pixels=max(8, round(pixels * scale)), angle=angle
        )
    if held_out:
        colour, shape = pick(rng, _HELD_OUT_LIST)
    else:
        shape = pick(rng, _SHAPE_NAMES)
        for _ in range(2):
            if (colour, shape) in HELD_OUT:
                colour = pick(rng, _COLOUR_NAMES)
        if (colour, shape) in HELD_OUT:
            colour = next(c for c in COLOURS if (c, shape) not in HELD_OUT)
    size: Size = "small" if rng.random() < 0.5 else "large"
    pixels = (19 + int(rng.random() * 6)) if size == "small" else (33 + int(rng.random() * 11))
    fill: Fill = "solid" if rng.random() < 0.45 else pick(rng, fills_for(shape, size))
    angle = pick(rng, (-8, 0, 8))
    return Thing("shape", shape, colour, fill, size, pixels=max(6, round(pixels * scale)), angle=angle)


def random_things(rng: random.Random, scale: float, held_out: bool = False, most: int = 5) -> list[Thing]:
    """One to `most` things without places; the first has a held-out pair where that is asked for."""
    count = min(most, pick(rng, _COUNTS))
    things: list[Thing] = []
    for position in range(count):
        draw = rng.random()
        if held_out and position == 0:
            things.append(random_thing(rng, "shape", scale, held_out=True))
        elif draw < 0.12 and things and things[-1].kind == "shape":
            things.append(_twin(rng, things[-1]))
        else:
            kind: Kind = "shape" if draw < 0.64 else "digit" if draw < 0.81 else "sign"
            if kind != "shape" and sum(t.kind == kind for t in things) >= 2:
                kind = "shape"
            things.append(random_thing(rng, kind, scale))
    return things


def _twin(rng: random.Random, thing: Thing) -> Thing:
    """A thing that shares all or all but one of another's attributes, so that counting and telling apart are learnt."""
    draw = rng.random()
    if draw < 0.4 or thing.held_out:
        return thing
    if draw < 0.7:
        colour = pick(rng, _COLOUR_NAMES)
        return thing if (colour, thing.shape) in HELD_OUT else replace(thing, colour=colour)
    shape = pick(rng, _SHAPE_NAMES)
    if (thing.colour, shape) in HELD_OUT or thing.fill not in fills_for(shape, thing.size):
        return thing
    return replace(thing, shape=shape)


def reading_order(things: Iterable[Thing], size: int) -> list[Thing]:
    """Things by rows of a third of the picture, top to bottom, and in a row from left to right."""
    return sorted(things, key=lambda t: (min(2, int(3 * t.centre[1] / size)), t.centre[0]))


def pick(rng: random.Random, items: Sequence[_T]) -> _T:
    """`rng.choice`, a few times faster."""
    return items[int(rng.random() * len(items))]


_COLOUR_NAMES = tuple(COLOURS)
_COUNTS = (1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5)  # how many things a scene is to have; some find no place
_SHAPE_NAMES = tuple(SHAPES)
_HELD_OUT_LIST = tuple(sorted(HELD_OUT))
