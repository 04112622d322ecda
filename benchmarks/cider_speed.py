"""CIDEr-D, BLEU and ROUGE-L beside pycocoevalcap's, on the same tokens: equal numbers, and the time of each.

    pip install "qwenvl[captions]"
    python benchmarks/cider_speed.py [--captions captions_val2017.json] [--repeats 3]

Without COCO's captions, made-up ones of its lengths. The caption that is scored is the last of each picture's with a
word in ten left out. Times are CPU seconds, the sides in turns; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from qwenvl.evaluate.metrics import bleu, cider_d, ptb_tokenize, rouge_l

PICTURES, CAPTIONS, WORDS = 5000, 5, 8000


def captions(path: Path | None) -> list[list[str]]:
    """The tokenised captions of each picture, joined by spaces."""
    if path is None:
        chance = random.Random(0)
        words = [f"w{n}" for n in range(WORDS)]
        weights = [1 / (n + 1) for n in range(WORDS)]
        return [
            [" ".join(chance.choices(words, weights, k=chance.randint(8, 15))) for _ in range(CAPTIONS)]
            for _ in range(PICTURES)
        ]
    found: dict[int, list[str]] = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        found.setdefault(row["image_id"], []).append(" ".join(ptb_tokenize(row["caption"])))
    return [texts for texts in found.values() if len(texts) > 1]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what came out."""
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="COCO's captions_*.json")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    chance = random.Random(1)
    said, true = {}, {}
    for picture, texts in enumerate(captions(options.captions)):
        said[picture] = " ".join(word for word in texts[-1].split() if chance.random() > 0.1)
        true[picture] = texts[:-1]
    listed = {picture: [text] for picture, text in said.items()}
    sides: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "CIDEr-D": (
            lambda: Cider().compute_score(true, listed)[0],
            lambda: cider_d(said, true, tokenize=str.split),
        ),
        "BLEU-4": (
            lambda: Bleu(4).compute_score(true, listed, verbose=0)[0][3],
            lambda: bleu(said, true, tokenize=str.split),
        ),
        "ROUGE-L": (
            lambda: Rouge().compute_score(true, listed)[0],
            lambda: rouge_l(said, true, tokenize=str.split),
        ),
    }
    for name, (theirs, ours) in sides.items():
        runs = [(timed(theirs), timed(ours)) for _ in range(options.repeats)]
        (_, a), (_, b) = runs[0]
        before, after = (statistics.median(run[side][0] for run in runs) for side in (0, 1))
        print(
            f"{name:<8} {len(said):,} pictures  pycocoevalcap {before:.2f} s  qwenvl {after:.2f} s  "
            f"{before / after:.2f}×  difference {abs(a - b):.1e}"
        )


if __name__ == "__main__":
    main()
