"""Reading: which lines of a picture were read exactly, and which were also put in the right place."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from qwenvl.evaluate.metrics.grounding import THRESHOLD, boxes_of, grounded_counts
from qwenvl.sample import Region


def line_text(text: str) -> str:
    """A line as it is compared: NFC, runs of white space as one space. Case and punctuation count."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def exact_lines(predicted: Sequence[Region], truth: Sequence[Region]) -> list[bool]:
    """For each true line whether a predicted line has exactly its text; each predicted line serves one true line."""
    said = Counter(line_text(region.phrase or "") for region in predicted)
    hits = []
    for region in truth:
        text = line_text(region.phrase or "")
        hits.append(said[text] > 0)
        said[text] -= hits[-1]
    return hits


def placed_lines(
    predicted: Sequence[Region], truth: Sequence[Region], threshold: float = THRESHOLD
) -> tuple[int, int, int]:
    """(right, superfluous, missed) lines, where right needs the exact text **and** IoU ≥ `threshold` of the boxes
    around the quads.
    """
    counts = grounded_counts(predicted, truth, lambda a, b: line_text(a) == line_text(b), threshold)
    # A predicted line without a place is superfluous too.
    return counts[0], counts[1] + sum(not boxes_of(region) for region in predicted), counts[2]
