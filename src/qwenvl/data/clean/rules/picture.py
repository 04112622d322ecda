"""What a picture's header and bytes tell: aspect ratio, size, and whether it can be decoded (paper, appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from qwenvl.data.clean.rule import Drop, Rule, Value, Verdict
from qwenvl.data.clean.rules.bounded import Bounded
from qwenvl.data.pair import Pair


@dataclass(frozen=True)
class AspectRatio(Bounded):
    """ "Removing pairs with too large aspect ratio of the image": the longer side over the shorter one, from 1 on."""

    name: ClassVar[str] = "aspect_ratio"
    tuned: ClassVar[Literal["min", "max"]] = "max"
    bins: ClassVar[tuple[float, ...]] = tuple(1 + step / 8 for step in range(49))

    def measure(self, pair: Pair) -> Value:
        width, height = pair.size
        return width / height if width > height else height / width


@dataclass(frozen=True)
class Size(Bounded):
    """ "Removing pairs with too small image": the shorter side in pixels."""

    name: ClassVar[str] = "size"
    bins: ClassVar[tuple[float, ...]] = tuple(float(side) for side in range(0, 1025, 16))

    def measure(self, pair: Pair) -> Value:
        width, height = pair.size
        return width if width < height else height


@dataclass(frozen=True)
class Decodable(Rule):
    """Removes pictures that can not be decoded to their last byte: broken and cut-off ones, with ImageError's reason.

    The one rule that must look at all bytes, so it stands behind the cheap ones. Files of which only a header survived
    pass every rule on size. Not in the paper.
    """

    name: ClassVar[str] = "decodable"

    def measure(self, pair: Pair) -> Value:
        # brightness alone is half the work, and what a perceptual hash needs too
        return pair.grey is not None

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return None if value else Drop("undecodable")
