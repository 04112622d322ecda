"""Rules over a block of pairs: rule by rule, so that costly ones see a batch, and a dropped pair is not looked at again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from qwenvl.data.clean.phash import phash
from qwenvl.data.clean.rule import Change, Drop, Rule, Value, Verdict
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


Values = Sequence[Value]
"""What a rule measured of each pair of a block, None for those that did not reach it."""


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
        self._failed = dict.fromkeys((rule.name for rule in rules), 0)

    def judge(self, block: Sequence[Seen]) -> dict[str, Values]:
        """Decide about each pair of a block, in place; gives what each rule measured."""
        measured: dict[str, Values] = {}
        alive = [position for position, seen in enumerate(block) if seen.rule is None]
        for rule in self.rules:
            values: list[Value] = [None] * len(block)
            pairs = [pair for position in alive if (pair := block[position].pair) is not None]
            for position, pair, found in zip(alive, pairs, _measure(rule, pairs), strict=True):
                values[position] = self._decide(rule, block[position], pair, found)
            self._check(rule, len(pairs))
            measured[rule.name] = values
            alive = [position for position in alive if block[position].rule is None]
        for seen in block:
            self._look(seen)
        return measured

    def _decide(self, rule: Rule, seen: Seen, pair: Pair, found: Value | Exception) -> Value:
        """Carry out what a rule decides; gives the value that it decided from."""
        error = found if isinstance(found, Exception) else None
        value = None if isinstance(found, Exception) else _plain(found)
        verdict: Verdict = None
        if error is None:
            try:
                verdict = rule.decide(pair, value)
            except Exception as raised:  # a rule may be a user's own code
                error = raised
        if isinstance(error, ImageError):
            seen.drop(rule.name, UNDECODABLE, str(error))
        elif error is not None:
            self._failed[rule.name] += 1
            seen.drop(rule.name, FAILED, f"{type(error).__name__}: {error}")
        elif isinstance(verdict, Drop):
            seen.drop(rule.name, verdict.why, value)
        elif isinstance(verdict, Change) and verdict.caption != pair.caption:
            pair.caption = verdict.caption
            seen.changed.append(rule.name)
        return value

    def _check(self, rule: Rule, pairs: int) -> None:
        """A rule that fails on most pairs is at fault itself: dropping them all would look like cleaning."""
        self._measured[rule.name] += pairs
        failed, measured = self._failed[rule.name], self._measured[rule.name]
        if failed > max(_FEW, measured // 2):
            raise StopRun(
                f"the rule {rule.name} failed on {failed:,} of {measured:,} pairs, so it is not the pairs' fault: mend it "
                "or take it out of the recipe"
            )

    def _look(self, seen: Seen) -> None:
        """Size, for all whose header can be read; of those that stay also what set rules need."""
        pair = seen.pair
        if pair is None:
            return
        try:
            seen.size = pair.size
            if seen.rule is None and "digest" in self._reads:
                seen.digest = pair.digest
            if seen.rule is None and "phash" in self._reads:
                seen.phash = phash(pair.grey)
        except ImageError as error:
            if seen.rule is None:
                seen.drop(READING, UNDECODABLE, str(error))


def _measure(rule: Rule, pairs: Sequence[Pair]) -> Sequence[Value | Exception]:
    """What a rule measures of many pairs. If it fails as a whole, one at a time, so that one bad pair costs no other."""
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


def _plain(value: Value) -> Value:
    """A rule's own code may give NumPy's numbers."""
    if value is None or isinstance(value, str | float | int):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _told(value: Value) -> str | None:
    """The value in the ledger's words."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return None if value is None else str(value)
