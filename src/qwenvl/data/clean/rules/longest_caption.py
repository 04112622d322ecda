"""One image with several texts keeps the longest one (paper, appendix A.1: academic caption datasets)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from qwenvl.data.clean.rule import SetRule

IMAGE = ("digest", "url")
"""What may say that two pairs have the same image: equal bytes, equal address."""

_ROWS = 1 << 40  # a global row below this and a length below 2^22 fit into one 64-bit number, so one maximum finds both


@dataclass(frozen=True)
class LongestCaption(SetRule):
    """Of the pairs with the same image the one with the most characters stays, of equals the first in the input.

    `image` lists what makes images the same, one after another: "digest" (their bytes) and "url" (the address they
    came from; pairs without one are left alone). The value is the two lengths in characters.
    """

    image: tuple[str, ...] = IMAGE

    name: ClassVar[str] = "longest_caption"

    def __post_init__(self) -> None:
        unknown = [key for key in self.image if key not in IMAGE]
        if unknown or not self.image:
            raise ValueError(f"longest_caption: image lists {' and '.join(IMAGE)}, not {list(self.image)}")

    @property
    def reads(self) -> frozenset[str]:
        """The digest, where images are told by their bytes."""
        return frozenset(self.image) & {"digest"}

    def drops(self, database: Any) -> Iterable[str]:
        """One SELECT for each way to tell images."""
        return [_select(column) for column in self.image]


def _select(column: str) -> str:
    # an empty address is no address
    known = "url <> ''" if column == "url" else f"{column} IS NOT NULL"
    return f"""
        WITH longest AS (
            SELECT {column}, max((least(coalesce(characters, 0), 4194303)::BIGINT << 40) | ({_ROWS - 1} - row)) AS best
            FROM kept WHERE {known} GROUP BY {column} HAVING count(*) > 1
        ), compared AS (
            SELECT row, coalesce(characters, 0) AS length, best >> 40 AS most,
                   {_ROWS - 1} - (best & {_ROWS - 1}) AS winner
            FROM kept JOIN longest USING ({column})
        )
        SELECT row, 'not the longest caption of its image' AS why, length || ' <= ' || most AS value, winner
        FROM compared WHERE row <> winner"""
