"""Whether an answer is the expected one, word for word."""

from __future__ import annotations

from collections.abc import Sequence


def exact_match(prediction: str, answers: str | Sequence[str]) -> float:
    """1 for one of the answers, case and outer spaces aside; else 0 (the Qwen-VL repository's evaluation of OCR-VQA and
    AI2D).
    """
    accepted = [answers] if isinstance(answers, str) else answers
    return float(any(prediction.strip().lower() == answer.strip().lower() for answer in accepted))


def gqa_match(prediction: str, answer: str, official: bool = False) -> float:
    """1 where the prediction is GQA's one answer; else 0.

    The Qwen-VL repository first takes a short answer out of a sentence: what stands before the first ".", "," and "!",
    lower-cased, then in turn what follows the first "is ", "are ", "a ", "an " and "the " (up to their next one), and
    what stands before " of". These are letters, not words: "panda eats" has an "a " in it. With `official` the two must
    be equal as they stand, as in GQA's own script.
    """
    if official:
        return float(prediction == answer)
    said = prediction.strip().split(".")[0].split(",")[0].split("!")[0].lower()
    for opening in ("is ", "are ", "a ", "an ", "the "):
        if opening in said:
            said = said.split(opening)[1]
    return float(said.split(" of")[0].strip() == answer.strip().lower())
