"""What the harness takes beside generation: a whole task, files and answers included, against `generate` alone.

    python benchmarks/eval_overhead.py [--items 256] [--repeats 5] [--model nano]

Both sides answer the same questions of VQAv2's form about the same pictures (640 × 480 JPEGs, made here), in the same
batches; `generate` is given its examples ready, and opens the pictures too, as any asking must. CPU seconds of the
process, medians of turns taken by both; the last line is the overhead. Only a quiet machine gives numbers to keep.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from qwenvl.evaluate.ask import Asking, _example, in_batches
from qwenvl.evaluate.benchmarks.registry import benchmarks
from qwenvl.evaluate.harness import Settings, evaluate_tasks
from qwenvl.evaluate.locate import locate
from qwenvl.evaluate.prompts import Opener
from qwenvl.model.load import load
from qwenvl.model.packed_linear import prepare_for_cpu
from qwenvl.serve.engine import generate

BATCH = 16


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of all threads."""
    before = os.times()
    work()
    after = os.times()
    return after.user + after.system - before.user - before.system


def make(root: Path, count: int) -> None:
    """Questions, annotations and pictures in VQAv2's form."""
    rng = np.random.default_rng(0)
    words = random.Random(0)
    questions, annotations = [], []
    folder = root / "coco/val2014"
    folder.mkdir(parents=True)
    (root / "vqav2").mkdir()
    for number in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        picture = PILImage.fromarray(coarse).resize((640, 480), PILImage.Resampling.BICUBIC)
        picture.save(folder / f"COCO_val2014_{number:012d}.jpg", quality=90)
        asked = "What color is the " + " ".join(["large"] * words.randrange(8)) + " star?"
        questions.append({"image_id": number, "question_id": number, "question": asked})
        answers = [{"answer": "red", "answer_confidence": "yes", "answer_id": n} for n in range(10)]
        annotations.append({"image_id": number, "question_id": number, "answers": answers})
    for name, rows in (("OpenEnded_mscoco_val2014_questions", questions), ("mscoco_val2014_annotations", annotations)):
        member = name.rsplit("_", 1)[1]
        (root / f"vqav2/v2_{name}.json").write_text(json.dumps({member: rows}), encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="nano")
    options = parser.parse_args()
    loaded = load(options.model)
    prepare_for_cpu(loaded.model)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make(root, options.items)
        benchmark = benchmarks()["vqav2"]
        data = locate(benchmark, root, {})
        asking = Asking(benchmark, loaded.model, loaded.tokenizer, Opener(data.pictures))
        examples = [
            _example(asking, item, asking.pictures.open(item.entry))
            for batch in in_batches(list(benchmark.items(data)), BATCH)
            for item in batch
            if item.entry is not None
        ]

        def alone() -> None:
            generate(loaded.model, loaded.tokenizer, examples, benchmark.decoding, BATCH)

        turn = 0

        def whole() -> None:
            nonlocal turn
            turn += 1
            settings = Settings(out=root / f"out{turn}", data=root, batch_size=BATCH, quiet=True)
            evaluate_tasks(loaded, ["vqav2"], settings)

        alone()
        times: list[tuple[float, float]] = [(cpu(alone), cpu(whole)) for _ in range(options.repeats)]
    base, full = (statistics.median(side) for side in zip(*times, strict=True))
    ratios = sorted(whole / alone for alone, whole in times)
    print(f"generate alone  {base:8.3f} CPU s for {options.items} items")
    print(f"whole harness   {full:8.3f} CPU s")
    print(
        f"overhead        {100 * (statistics.median(ratios) - 1):8.1f} %  ({100 * (ratios[0] - 1):.1f} … "
        f"{100 * (ratios[-1] - 1):.1f})"
    )


if __name__ == "__main__":
    main()
