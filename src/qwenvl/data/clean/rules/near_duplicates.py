"""Images that look the same: perceptual hashes within a few bits of each other, found without comparing all pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from qwenvl.data.clean.rule import SetRule

BITS = 64
FARTHEST = 8

_CROWD = 4
"""Hashes that may share a key by chance: more of them cost more comparisons, fewer of them more passes."""


@dataclass(frozen=True)
class NearDuplicates(SetRule):
    """Drops an image whose perceptual hash is within `distance` bits of a better one's that stays.

    Better is larger in pixels, then with the longer caption, then earlier in the input. Images are taken from the best
    down, and one stays if none that stays is near it. So it is certain that a pair that goes lies within `distance` of
    one that stays (its winner is the nearest such), and that no two that stay lie that near. Flat pictures have no hash
    and are left alone. The value is the distance in bits.

    No near pair is missed: the 64 bits are cut into b blocks; hashes that differ in at most d bits agree in at least
    b − d blocks whole; for each choice of b − d blocks those that agree there are compared (Manku et al. 2007). b grows
    with the number of images, so that few meet by chance. Half of a hash's bits are set, so distances are even.
    """

    distance: int = 4

    name: ClassVar[str] = "near_duplicates"

    def __post_init__(self) -> None:
        if not 0 <= self.distance <= FARTHEST:
            raise ValueError(f"near_duplicates: distance is 0 to {FARTHEST} bits of {BITS}, not {self.distance}")

    @property
    def reads(self) -> frozenset[str]:
        """The perceptual hash."""
        return frozenset({"phash"})

    def drops(self, database: Any) -> Iterable[str]:
        """Builds the graph of near hashes in temporary tables, settles who stays, and gives one SELECT."""
        database.execute("""
            CREATE OR REPLACE TEMP TABLE looks AS
            SELECT phash, max(
                ((width::HUGEINT * height) << 64) | (least(coalesce(characters, 0), 4194303)::HUGEINT << 40)
                | (1099511627775 - row)
            ) AS rank
            FROM kept WHERE phash IS NOT NULL GROUP BY phash""")
        count = database.execute("SELECT count(*) FROM looks").fetchone()[0]
        database.execute("CREATE OR REPLACE TEMP TABLE near (better UBIGINT, worse UBIGINT)")
        for mask in masks(self.distance, count):
            database.execute(f"""
                INSERT INTO near SELECT a.phash, b.phash
                FROM looks a JOIN looks b ON a.phash & {mask} = b.phash & {mask}
                WHERE a.rank > b.rank AND bit_count(xor(a.phash, b.phash)) <= {self.distance}""")
        database.execute("CREATE OR REPLACE TEMP TABLE near AS SELECT DISTINCT better, worse FROM near")
        _settle(database)
        yield """
            WITH target AS (
                SELECT looks.phash, coalesce(losers.winner, looks.phash) AS winner
                FROM looks LEFT JOIN losers ON losers.phash = looks.phash
            ), named AS (
                SELECT target.phash, bit_count(xor(target.phash, target.winner)) AS distance,
                       (1099511627775 - (best.rank & 1099511627775))::BIGINT AS winner
                FROM target JOIN looks best ON best.phash = target.winner
            )
            SELECT row, 'looks like another image' AS why, distance AS value, winner
            FROM kept JOIN named USING (phash) WHERE row <> winner"""
        for table in ("looks", "near", "open", "going", "out", "losers"):
            database.execute(f"DROP TABLE IF EXISTS {table}")


def masks(distance: int, count: int) -> Iterator[int]:
    """Bit masks such that hashes at most `distance` apart agree under at least one; `count` is how many there are."""
    if distance == 0:
        return
    blocks = distance + 1
    while blocks < BITS // 2 and count / 2 ** (BITS * (blocks - distance) // blocks) > _CROWD:
        if math.comb(blocks + 1, distance) > 500:
            break
        blocks += 1
    edges = [BITS * i // blocks for i in range(blocks + 1)]
    parts = [(1 << high) - (1 << low) for low, high in itertools.pairwise(edges)]
    for chosen in itertools.combinations(parts, blocks - distance):
        yield sum(chosen)


def _settle(database: Any) -> None:
    """The table `losers` (phash, winner) from the edges in `near`.

    In rounds: who has no better open neighbour stays, its neighbours go, both are settled. The result is that of going
    through all in order of rank.
    """
    database.execute("CREATE OR REPLACE TEMP TABLE open AS FROM near")
    database.execute("CREATE OR REPLACE TEMP TABLE out (phash UBIGINT)")
    while database.execute("SELECT EXISTS (FROM open)").fetchone()[0]:
        database.execute("""
            CREATE OR REPLACE TEMP TABLE going AS SELECT DISTINCT worse AS phash FROM open
            WHERE better NOT IN (SELECT worse FROM open)""")
        database.execute("INSERT INTO out FROM going")
        # an edge from one that goes binds nobody any more; one to it is settled
        database.execute("""
            CREATE OR REPLACE TEMP TABLE open AS FROM open
            WHERE better NOT IN (FROM going) AND worse NOT IN (FROM going)""")
    database.execute("""
        CREATE OR REPLACE TEMP TABLE losers AS
        SELECT lost AS phash, arg_min(stays, (bit_count(xor(lost, stays))::HUGEINT << 120) - rank) AS winner
        FROM (SELECT worse AS lost, better AS stays FROM near UNION ALL SELECT better, worse FROM near)
        JOIN looks ON looks.phash = stays
        WHERE lost IN (FROM out) AND stays NOT IN (FROM out) GROUP BY lost""")
