"""Answers read off documents and charts: ANLS, and relaxed accuracy of numbers."""

from __future__ import annotations

from collections.abc import Sequence

ANLS_THRESHOLD = 0.5
RELATIVE_CHANGE = 0.05


def anls(prediction: str, answers: Sequence[str], threshold: float = ANLS_THRESHOLD) -> float:
    """Average normalised Levenshtein similarity of one question (DocVQA, InfographicVQA; rrc.cvc.uab.es challenge 17).

    1 − the least distance to an answer, as a share of the longer text, or 0 where that is below `threshold`, which
    itself still counts. Distances are between lower-cased texts with single spaces, lengths are those of the texts as
    they stand, so spaces that do not count as mistakes make mistakes cheaper. Raises ValueError without answers.
    """
    if not answers:
        raise ValueError("anls needs the true answers: none were given")
    said = _folded(prediction)
    shares = []
    for answer in answers:
        # the site's script measures upper-cased texts, in which one letter may be two ("ß")
        length = max(len(answer.upper()), len(prediction.upper()))
        shares.append(levenshtein(_folded(answer), said) / length if length else 0.0)
    similarity = 1 - min(shares)
    return similarity if similarity >= threshold else 0.0


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def levenshtein(a: str, b: str) -> int:
    """The least number of characters to insert, delete or replace to make one text of the other."""
    if len(a) > len(b):
        a, b = b, a
    row = list(range(len(a) + 1))
    for i, character in enumerate(b, start=1):
        previous, row = row, [i]
        for j, other in enumerate(a):
            row.append(previous[j] if character == other else 1 + min(previous[j], previous[j + 1], row[-1]))
    return row[-1]


def relaxed_accuracy(
    prediction: str, target: str | Sequence[str], max_relative_change: float = RELATIVE_CHANGE, qwen_compat: bool = False
) -> float:
    """1 for a number within 5 % of the target, or for the same words, case aside; else 0 (ChartQA, section 5.1).

    "50%" is the number 0.5. A target of 0 is compared as words. With several targets the best counts. The evaluation of
    the Qwen-VL repository hands the two over the wrong way round, so that 5 % is taken of the prediction and it is the
    prediction that must not be 0: `qwen_compat` does so too.
    """
    targets = [target] if isinstance(target, str) else list(target)
    if not targets:
        raise ValueError("relaxed_accuracy needs a target: none was given")
    said = prediction.strip()
    pairs = [(said, one) if qwen_compat else (one, said) for one in targets]
    return float(any(_close(reference, other, max_relative_change) for reference, other in pairs))


def _close(reference: str, other: str, most: float) -> bool:
    base, value = _number(reference), _number(other)
    if value is not None and base:
        return abs(value - base) / abs(base) <= most
    return reference.lower() == other.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
