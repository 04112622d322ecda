"""Choosing among options: by the model's own loss, and MME's pairs of yes–no questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Key = TypeVar("Key")


def rank_options(losses: Mapping[Key, Sequence[float] | float] | Sequence[Sequence[float] | float]) -> Key | int:
    """The option that the model finds likeliest: the one with the least mean loss a token.

    `losses` has each option's losses, one a token (or their mean), by position or by name; the position or name is
    given back, of equal ones the first. The mean, not the sum, so that long options are not worse for that. Raises
    ValueError without options, for an option without a token, and for a loss that is no number.
    """
    named = list(losses.items()) if isinstance(losses, Mapping) else list(enumerate(losses))
    if not named:
        raise ValueError("there are no options to rank")
    means = []
    for name, values in named:
        each = [float(values)] if isinstance(values, int | float) else [float(value) for value in values]
        if not each or any(value != value for value in each):
            raise ValueError(f"option {name!r} has {'no loss' if not each else 'a loss that is not a number'}")
        means.append(sum(each) / len(each))
    return named[means.index(min(means))][0]


def parse_yes_no(reply: str) -> Literal["yes", "no", "other"]:
    """What MME's own script reads in a reply: "yes" or "no" as the whole of it or within its first four characters."""
    folded = reply.lower()
    if folded in ("yes", "no"):
        return "yes" if folded == "yes" else "no"
    start = folded[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


@dataclass(frozen=True, slots=True)
class MMEScore:
    """Of a subtask: `acc` is the share of questions that were answered rightly, `acc_plus` that of pictures both of
    whose questions were; `score` is 100 · (acc + acc_plus), at most 200. `others` counts replies that said neither.
    """

    acc: float
    acc_plus: float
    score: float
    questions: int
    others: int


def mme_score(rows: Iterable[tuple[str, str, str, str]]) -> dict[str, MMEScore]:
    """MME's scores by subtask, of rows (subtask, picture, truth "Yes" or "No", reply), in any order.

    As in the benchmark's eval_tool: replies are read by `parse_yes_no`, and one that says neither is wrong. A picture's
    questions are told by its name within the subtask. The perception score is the sum of its ten subtasks', cognition's
    of its four. Raises ValueError for a truth that is neither yes nor no.
    """
    found: dict[str, dict[str, list[bool]]] = {}
    others: dict[str, int] = {}
    for subtask, picture, truth, reply in rows:
        wanted = truth.strip().lower()
        if wanted not in ("yes", "no"):
            raise ValueError(f"{subtask}, {picture}: the truth is Yes or No, not {truth!r}")
        said = parse_yes_no(reply.strip())
        found.setdefault(subtask, {}).setdefault(picture, []).append(said == wanted)
        others[subtask] = others.get(subtask, 0) + (said == "other")
    return {subtask: _score(pictures, others[subtask]) for subtask, pictures in found.items()}


def _score(pictures: Mapping[str, Sequence[bool]], others: int) -> MMEScore:
    each = [right for answers in pictures.values() for right in answers]
    acc, plus = sum(each) / len(each), sum(map(all, pictures.values())) / len(pictures)
    return MMEScore(acc, plus, 100 * (acc + plus), len(each), others)
