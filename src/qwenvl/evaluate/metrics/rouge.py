"""ROUGE-L: the longest row of words that a caption and a reference have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qwenvl.evaluate.metrics.corpus import CorpusScore, Predictions, References, Tokenize, paired
from qwenvl.evaluate.metrics.ptb import ptb_tokenize

BETA = 1.2


def rouge_l(predictions: Predictions, references: References, tokenize: Tokenize = ptb_tokenize) -> CorpusScore:
    """ROUGE-L of all captions in 0…1, the mean of theirs (Lin 2004), as pycocoevalcap computes it.

    Precision and recall are each the best over the references, not of one of them; recall counts 1.44 times. Raises
    ValueError as `paired` says.
    """
    each = [_rouge(said, texts) for said, texts in paired(predictions, references, tokenize)]
    return CorpusScore(math.fsum(each) / len(each), each)


def _rouge(said: Sequence[str], texts: Sequence[Sequence[str]]) -> float:
    # a text without words counts as one empty word, in pycocoevalcap's way of cutting at spaces
    said, texts = said or [""], [text or [""] for text in texts]
    common = [_common(said, text) for text in texts]
    precision = max(common) / len(said)
    recall = max(count / len(text) for count, text in zip(common, texts, strict=True))
    if not (precision and recall):
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            above = row[j]
            row[j] = before + 1 if word == other else max(above, row[j - 1])
            before = above
    return row[-1]
