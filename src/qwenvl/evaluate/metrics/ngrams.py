"""CIDEr-D and BLEU: n-grams of a caption that its references have too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from qwenvl.evaluate.metrics.corpus import CorpusScore, Predictions, References, Tokenize, paired
from qwenvl.evaluate.metrics.ptb import ptb_tokenize

Gram = tuple[str, ...]
LONGEST = 4
SIGMA = 6.0


def cider_d(predictions: Predictions, references: References, tokenize: Tokenize = ptb_tokenize) -> CorpusScore:
    """CIDEr-D of all captions (arXiv 1411.5726, section 5), as pycocoevalcap computes it: 10 is the most, 1.2 is what
    tables print as 120.

    An n-gram weighs log(items) − log(items whose references have it), so the score of one caption hangs on all
    others, and one item alone scores 0. Counts are clipped to the reference's; a difference d of length costs
    exp(−d² / 72). Length is counted in pairs of words, as pycocoevalcap does. Give `tokenize=str.split` for texts that
    are tokenised. Raises ValueError as `paired` says.
    """
    items = paired(predictions, references, tokenize)
    counted = [(_grams(said), [_grams(text) for text in texts]) for said, texts in items]
    having: Counter[Gram] = Counter()
    for _, texts in counted:
        having.update({gram for text in texts for gram in text})
    rarest = math.log(len(items))
    weights = {gram: rarest - math.log(count) for gram, count in having.items()}
    each = []
    for said, texts in counted:
        vector = _weighed(said, weights, rarest)
        total = sum(_similarity(vector, _weighed(text, weights, rarest)) for text in texts)
        each.append(10 * total / len(texts) / LONGEST)
    return CorpusScore(math.fsum(each) / len(each), each)


_Vector = tuple[dict[Gram, float], list[float], int]
"""Weighed counts, the norm of each length of n-gram, and how many pairs of words there are."""


def _weighed(counts: Counter[Gram], weights: Mapping[Gram, float], rarest: float) -> _Vector:
    found = {gram: count * weights.get(gram, rarest) for gram, count in counts.items()}
    squares = [0.0] * LONGEST
    for gram, value in found.items():
        squares[len(gram) - 1] += value * value
    pairs = sum(count for gram, count in counts.items() if len(gram) == 2)
    return found, [math.sqrt(square) for square in squares], pairs


def _similarity(said: _Vector, true: _Vector) -> float:
    """The sum over n of the clipped cosine, with the penalty for another length."""
    counts, norms, length = said
    others, other_norms, other_length = true
    products = [0.0] * LONGEST
    for gram, value in counts.items():
        other = others.get(gram)
        if other is not None:
            products[len(gram) - 1] += min(value, other) * other
    total = sum(
        product / (norm * other) if norm and other else product
        for product, norm, other in zip(products, norms, other_norms, strict=True)
    )
    return total * math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))


def bleu(
    predictions: Predictions, references: References, n: int = LONGEST, tokenize: Tokenize = ptb_tokenize
) -> CorpusScore:
    """BLEU-n of all captions, in 0…1: matches, guesses and lengths are summed over the corpus (Papineni et al. 2002).

    As in pycocoevalcap: the reference nearest in length counts, the shorter of two equally near; the smoothing is
    too small to be seen. `each` are the captions' own BLEU-n, whose mean it is **not**. Raises ValueError as `paired`
    says, and for n < 1.
    """
    if n < 1:
        raise ValueError(f"n counts the words of the longest n-gram: 1 or more, not {n}")
    each = []
    hits, guesses, length, wanted = [0] * n, [0] * n, 0, 0
    for said, texts in paired(predictions, references, tokenize):
        right, tried = _matches(said, texts, n)
        near = min((abs(len(text) - len(said)), len(text)) for text in texts)[1]
        each.append(_bleu(right, tried, len(said), near))
        hits = [a + b for a, b in zip(hits, right, strict=True)]
        guesses = [a + b for a, b in zip(guesses, tried, strict=True)]
        length, wanted = length + len(said), wanted + near
    return CorpusScore(_bleu(hits, guesses, length, wanted), each)


def _matches(said: Sequence[str], texts: Sequence[Sequence[str]], n: int) -> tuple[list[int], list[int]]:
    most: Counter[Gram] = Counter()
    for text in texts:
        most |= _grams(text, n)
    right = [0] * n
    for gram, count in (_grams(said, n) & most).items():
        right[len(gram) - 1] += count
    return right, [max(0, len(said) - size) for size in range(n)]


def _bleu(hits: Sequence[int], guesses: Sequence[int], length: int, wanted: int) -> float:
    tiny, small = 1e-15, 1e-9
    product = math.prod((hit + tiny) / (guess + small) for hit, guess in zip(hits, guesses, strict=True))
    ratio = (length + tiny) / (wanted + small)
    return product ** (1 / len(hits)) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0)


def _grams(words: Sequence[str], longest: int = LONGEST) -> Counter[Gram]:
    return Counter(
        tuple(words[start : start + size])
        for size in range(1, longest + 1)
        for start in range(len(words) - size + 1)
    )
