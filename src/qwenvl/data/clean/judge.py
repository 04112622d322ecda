"""Rules over a block of pairs: rule by rule, so that costly ones see a batch; no dropped pair is looked at again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qwenvl.data.clean.phash import phash
from qwenvl.data.clean.rule import Change, Drop, Rule, Value
from qwenvl.data.clean.statistics import READING
from qwenvl.data.engine import StopRun
from qwenvl.data.images import ImageError
from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs import BadPair
from qwenvl.typed import ConfigError

BLOCK_PAIRS = 256
BLOCK_BYTES = 32 << 20
"""A block has no more pictures than these, and ends where their bytes are more than those."""

UNDECODABLE = "undecodable"
FAILED = "the rule failed"
"""The reason of a pair that a rule raised an error on."""

_FEW = 20
_NOT_THE_PAIRS_FAULT = (ConfigError, ImportError, MemoryError, OSError)


@dataclass(slots=True)
class Seen:
    """A pair that was read and what the rules made of it. `pair` is None for what could not be read.

    `rule`, `why` and `value` say what dropped it; `rule` None keeps it. `original` is the caption as it was read.
    """

    id: str
    source: str
    pair: Pair | None
    original: str | None = None
    rule: str | None = None
    why: str | None = None
    value: str | None = None
    changed: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None
    digest: str | None = None
    phash: int | None = None

    def drop(self, rule: str, why: str, value: Value) -> None:
        """Say what dropped it."""
        self.rule, self.why, self.value = rule, why, _told(value)


class Values(NamedTuple):
    """What a rule measured of the pairs of a block that reached it; `places` says which these are."""

    places: Sequence[int]
    values: Sequence[Value]

    def spread(self, length: int) -> Sequence[Value]:
        """A value for each pair of the block, None for those that did not reach the rule."""
        if len(self.places) == length:
            return self.values
        found: list[Value] = [None] * length
        for place, value in zip(self.places, self.values, strict=True):
            found[place] = value
        return found


def blocks(found: Iterable[Pair | BadPair]) -> Iterator[list[Seen]]:
    """What a reader yields, in blocks; what could not be read is dropped by "reading"."""
    block: list[Seen] = []
    size = 0
    for item in found:
        if isinstance(item, BadPair):
            block.append(Seen(item.id, item.source, None, None, READING, item.why, item.detail))
        else:
            block.append(Seen(item.id, item.source, item, item.caption))
            size += len(item.image)
        if len(block) >= BLOCK_PAIRS or size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class Judge:
    """Applies rules in their order. `reads` names what set rules will need ("digest", "phash")."""

    def __init__(self, rules: Sequence[Rule], reads: frozenset[str] = frozenset()) -> None:
        self.rules = rules
        self._reads = reads
        self._measured = dict.fromkeys((rule.name for rule in rules), 0)
        self._failed: dict[str, list[str]] = {rule.name: [] for rule in rules}

    def judge(self, block: Sequence[Seen]) -> dict[str, Values]:
        """Decide about each pair of a block, in place; gives what each rule measured."""
        measured: dict[str, Values] = {}
        alive = [position for position, seen in enumerate(block) if seen.rule is None]
        for rule in self.rules:
            values: list[Value] = []
            pairs = [pair for position in alive if (pair := block[position].pair) is not None]
            decide = rule.decide
            for position, pair, found in zip(alive, pairs, _measure(rule, pairs), strict=True):
                value = found if type(found) in _PLAIN else _plain(found)
                try:
                    verdict = None if isinstance(value, Exception) else decide(pair, value)
                except Exception as error:  # a rule may be a user's own code
                    value = error
                if isinstance(value, Exception):
                    self._fail(rule, block[position], value)
                    values.append(None)
                    continue
                values.append(value)
                if verdict is not None:
                    _carry_out(rule, verdict, block[position], pair, value)
            measured[rule.name] = Values(alive, values)
            alive = [position for position in alive if block[position].rule is None]
            self._measured[rule.name] += len(pairs)
            self._check(rule)
        for seen in block:
            self._look(seen)
        return measured

    def _fail(self, rule: Rule, seen: Seen, error: Exception) -> None:
        """A rule raised an error on a pair: a broken picture, or a fault of its own."""
        if isinstance(error, ImageError):
            seen.drop(rule.name, UNDECODABLE, str(error))
            return
        seen.drop(rule.name, FAILED, f"{type(error).__name__}: {error}")
        self._failed[rule.name].append(f"{seen.id}: {seen.value}")

    def _check(self, rule: Rule) -> None:
        """A rule that fails on most pairs is at fault itself: dropping them all would look like cleaning."""
        failed, measured = self._failed[rule.name], self._measured[rule.name]
        if len(failed) > max(_FEW, measured // 2):
            raise StopRun(
                f"the rule {rule.name} failed on {len(failed):,} of {measured:,} pairs, so it is not their fault: mend "
                f"it, or take it out of the recipe. The first: {failed[0]}"
            )

    def _look(self, seen: Seen) -> None:
        """Size, for all whose header can be read; of those that stay also what set rules need."""
        pair = seen.pair
        if pair is None:
            return
        try:
            seen.size = pair.size
            if self._reads and seen.rule is None:
                seen.digest = pair.digest if "digest" in self._reads else None
                seen.phash = phash(pair.grey) if "phash" in self._reads else None
        except ImageError as error:
            if seen.rule is None:
                seen.drop(READING, UNDECODABLE, str(error))


def _measure(rule: Rule, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
    """What a rule measures of many pairs; if it fails as a whole one at a time: one bad pair costs no other."""
    if not pairs:
        return []
    try:
        found = rule.measure_all(pairs)
    except _NOT_THE_PAIRS_FAULT:
        raise
    except Exception:
        found = Rule.measure_all(rule, pairs)
    if len(found) != len(pairs):
        raise StopRun(f"the rule {rule.name}: measure_all gave {len(found)} values for {len(pairs)} pairs")
    lacking = next((error for error in found if isinstance(error, _NOT_THE_PAIRS_FAULT[:3])), None)
    if lacking is not None:
        raise lacking
    return found


def _carry_out(rule: Rule, verdict: Drop | Change, seen: Seen, pair: Pair, value: Value) -> None:
    if isinstance(verdict, Drop):
        seen.drop(rule.name, verdict.why, value)
    elif verdict.caption != pair.caption:
        pair.caption = verdict.caption
        seen.changed.append(rule.name)


_PLAIN = frozenset((float, int, str, bool, type(None)))


def _plain(value: Any) -> Any:
    """A rule's own code may give NumPy's numbers."""
    if isinstance(value, str | float | int | Exception):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _told(value: Value) -> str | None:
    """The value in the ledger's words."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return None if value is None else str(value)
