"""What metrics of whole sets of captions take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Tokenize = Callable[[str], list[str]]
Predictions = Sequence[str] | Mapping[Any, str | Sequence[str]]
References = Sequence[Sequence[str] | str] | Mapping[Any, Sequence[str] | str]


class CorpusScore(float):
    """A corpus' score, a number like any other; `each` has the items' own, in the order given."""

    each: tuple[float, ...]

    def __new__(cls, value: float, each: Sequence[float]) -> CorpusScore:
        """`value` of the whole; `each` of its items."""
        made = super().__new__(cls, value)
        made.each = tuple(each)
        return made


def paired(
    predictions: Predictions, references: References, tokenize: Tokenize
) -> list[tuple[list[str], list[list[str]]]]:
    """Each caption's tokens with those of its references.

    Both are sequences of the same length or mappings with the same keys. Raises ValueError where they are not, or an
    item has no reference.
    """
    if isinstance(predictions, Mapping) != isinstance(references, Mapping):
        raise ValueError("predictions and references must both be mappings by id, or both be sequences")
    if isinstance(predictions, Mapping) and isinstance(references, Mapping):
        odd = predictions.keys() ^ references.keys()
        if odd:
            few = ", ".join(map(str, sorted(odd, key=str)[:3]))
            raise ValueError(f"{len(odd)} ids are in one of predictions and references alone, such as {few}")
        items = [(predictions[key], references[key]) for key in predictions]
    else:
        if len(predictions) != len(references):
            raise ValueError(f"{len(predictions)} predictions, but references of {len(references)} items")
        items = list(zip(predictions, references, strict=True))
    if not items:
        raise ValueError("there is nothing to score: no predictions")
    return [_tokens(number, *item, tokenize) for number, item in enumerate(items)]


def _tokens(
    number: int, said: str | Sequence[str], true: Sequence[str] | str, tokenize: Tokenize
) -> tuple[list[str], list[list[str]]]:
    captions = [said] if isinstance(said, str) else list(said)
    texts = [true] if isinstance(true, str) else list(true)
    if len(captions) != 1:
        raise ValueError(f"item {number} has {len(captions)} predictions; exactly one is scored")
    if not texts:
        raise ValueError(f"item {number} has no reference")
    return tokenize(captions[0]), [tokenize(text) for text in texts]
