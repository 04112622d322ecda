"""Exact copies of an image: of equal bytes the first pair stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from qwenvl.data.clean.rule import SetRule


@dataclass(frozen=True)
class ExactDuplicates(SetRule):
    """Of the pairs whose images are equal byte for byte the first in the input stays, whatever the captions.

    The paper lists no such rule for web pairs; released corpora of this kind need it. Where the captions matter,
    `longest_caption` chooses by them.
    """

    name: ClassVar[str] = "exact_duplicates"

    @property
    def reads(self) -> frozenset[str]:
        """The digest."""
        return frozenset({"digest"})

    def drops(self, database: Any) -> Iterable[str]:
        """All but the lowest row of each digest."""
        return [
            """
            WITH first AS (
                SELECT digest, min(row) AS winner FROM kept WHERE digest IS NOT NULL GROUP BY digest HAVING count(*) > 1
            )
            SELECT row, 'same bytes as another image' AS why, NULL AS value, winner
            FROM kept JOIN first USING (digest) WHERE row <> winner"""
        ]
