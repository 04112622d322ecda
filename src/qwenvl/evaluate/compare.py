"""Two evaluations compared sample by sample: what changed, by how much, and whether chance explains it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qwenvl.evaluate.metrics.stats import resampled
from qwenvl.evaluate.results import ANSWERS, Answer, Result, ResultsError, read_answers, read_results

_DRAWS, _MOST_ROUNDS, _FEWEST_ROUNDS = 100_000_000, 5000, 500

MCNEMAR, BOOTSTRAP = "McNemar, exact", "paired bootstrap"


class NothingShared(ResultsError):
    """Two evaluations of a task have no scored answer to the same question."""


@dataclass(frozen=True, slots=True)
class Change:
    """A sample whose score differs."""

    id: str
    prompt: str
    targets: tuple[str, ...]
    answers: tuple[str, str]
    scores: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task in two evaluations A and B, over the `n` samples that both have a score for.

    `difference` is B's mean minus A's with its 95 % interval `low`…`high`, by resampling pictures (questions about one
    picture stay together), in 0…1. `p` is two-sided: McNemar's exact test where all scores are 0 or 1 and each sample
    has its own picture, else of the paired bootstrap. `better` and `worse` count samples of B. `only_a` and `only_b`
    were scored in one alone; `other_question` are ids of both whose prompt or target differs, left out too. `protocol`
    are the entries that differ.
    """

    task: str
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    test: str
    better: int
    worse: int
    only_a: int
    only_b: int
    other_question: int
    protocol: dict[str, tuple[Any, Any]]
    changes: tuple[Change, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(a: Path, b: Path, seed: int = 0) -> tuple[list[Comparison], list[str]]:
    """Every task that two results folders share, and why each other one is not compared.

    Raises ResultsError, also where no task can be compared.
    """
    first, second = ({result.task: result for result in read_results(folder)} for folder in (a, b))
    both = [task for task in first if task in second]
    if not both:
        raise ResultsError(f"{a} has {_named(first)}, {b} has {_named(second)}: no task is in both")
    apart = [f"{task}: only in {'A' if task in first else 'B'}" for task in sorted(first.keys() ^ second.keys())]
    found = []
    for task in both:
        try:
            found.append(compare_task(first[task], second[task], seed))
        except NothingShared as error:
            apart.append(f"{task}: {error}")
    if not found:
        raise ResultsError(f"nothing to compare in {a} and {b}: {'; '.join(apart)}")
    return found, apart


def _named(results: Mapping[str, Result]) -> str:
    return ", ".join(results)


def compare_task(a: Result, b: Result, seed: int = 0) -> Comparison:
    """One task in two evaluations. Raises ResultsError; NothingShared where there is nothing to compare."""
    mine, other = _scored(a), _scored(b)
    common = [id for id in mine if id in other]
    shared = [id for id in common if _question(mine[id]) == _question(other[id])]
    if not shared:
        raise NothingShared(
            f"{len(mine):,} and {len(other):,} scored answers in {ANSWERS}, none of them to the same question of the "
            "same split"
        )
    pairs = np.array([(mine[id].score, other[id].score) for id in shared], dtype=np.float64)
    groups = [mine[id].image or id for id in shared]
    low, high, p = _bootstrap(pairs[:, 1] - pairs[:, 0], groups, seed)
    test = BOOTSTRAP
    better, worse = int((pairs[:, 1] > pairs[:, 0]).sum()), int((pairs[:, 1] < pairs[:, 0]).sum())
    if np.isin(pairs, (0.0, 1.0)).all() and len(set(groups)) == len(groups):
        test, p = MCNEMAR, mcnemar(better, worse)
    left, right = (float(mean) for mean in pairs.mean(axis=0))
    return Comparison(
        task=a.task,
        n=len(shared),
        a=left,
        b=right,
        difference=right - left,
        low=low,
        high=high,
        p=p,
        test=test,
        better=better,
        worse=worse,
        only_a=len(mine) - len(common),
        only_b=len(other) - len(common),
        other_question=len(common) - len(shared),
        protocol={
            key: (a.protocol.get(key), b.protocol.get(key))
            for key in dict.fromkeys([*a.protocol, *b.protocol])
            if a.protocol.get(key) != b.protocol.get(key)
        },
        changes=tuple(_changes([(mine[id], other[id]) for id in shared])),
    )


def _scored(result: Result) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for answer in read_answers(result.folder):
        if answer.id in found:
            raise ResultsError(f"{result.folder}: two answers have the id {answer.id!r}; each sample needs its own")
        if answer.score is not None:
            found[answer.id] = answer
    return found


def _question(answer: Answer) -> tuple[str, tuple[str, ...]]:
    # few-shot examples before the question are part of the protocol, not of the question
    return answer.prompt.rsplit("</img>", 1)[-1], answer.targets


def _changes(pairs: Sequence[tuple[Answer, Answer]]) -> list[Change]:
    """The samples whose score differs, the largest losses first, the largest gains last."""
    found = []
    for a, b in pairs:
        if a.score is not None and b.score is not None and a.score != b.score:
            found.append(Change(a.id, a.prompt, a.targets, (a.answer, b.answer), (a.score, b.score)))
    return sorted(found, key=lambda change: change.scores[1] - change.scores[0])


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p of McNemar's exact test (Q. McNemar, 1947): discordant pairs fall either way like a coin."""
    n, k = better + worse, min(better, worse)
    if n == 0:
        return 1.0
    steps = np.arange(1, k + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - steps + 1) / steps))]) - n * math.log(2)
    return min(1.0, 2 * float(np.exp(logs).sum()))


def _bootstrap(differences: np.ndarray, groups: Sequence[str], seed: int) -> tuple[float, float, float]:
    """The 95 % interval of the mean difference and its two-sided p-value, whole groups resampled."""
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    table = np.zeros((len(numbers), 2))
    np.add.at(table, [numbers[group] for group in groups], np.stack([differences, np.ones_like(differences)], axis=1))
    rounds = min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, _DRAWS // len(table)))
    sums = resampled(table, rounds, seed)
    means = sums[:, 0] / sums[:, 1]
    low, high = (float(bound) for bound in np.quantile(means, [0.025, 0.975]))
    # one more than drawn: a chance that never came up in so many rounds is small, not zero
    tail = (min(int((means <= 0).sum()), int((means >= 0).sum())) + 1) / (rounds + 1)
    return low, high, min(1.0, 2 * tail)
