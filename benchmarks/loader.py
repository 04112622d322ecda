"""What the data path costs: processor milliseconds a batch in each stage of the nano recipe, in one process.

    python benchmarks/loader.py [--repeats 3] [--against OTHER/src]

From shards on disk to packed arrays with decoded pictures: the recipe's run at an eighth of its scenes and steps, so
that each stage sees as much of the corpus for the first time as in a whole run. `--against` takes turns with another
version's sources, and says whether both made the same batches.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PART = 8
SOURCES = Path(__file__).parents[1] / "src"


def main() -> None:
    """Print a table for one process, and for the first of two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="OTHER/src")
    parser.add_argument("--measure", nargs=2, metavar=("CORPUS", "WORLD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), int(options.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name) / "corpus", options.repeats, options.against)


def compare(corpus: Path, repeats: int, against: Path | None) -> None:
    """The run in processes of its own, the versions in turns."""
    from qwenvl.config import load_recipe
    from qwenvl.data.corpus import make_scenes

    spec = load_recipe("nano").corpus
    assert spec is not None
    make_scenes(corpus, spec.scenes // PART, spec.size, spec.seed, "train", quiet=True)
    versions = [SOURCES, *([against.resolve()] if against else [])]
    for world in (1, 2):
        found: dict[Path, list[dict[str, tuple[float, str]]]] = {version: [] for version in versions}
        for repeat in range(repeats):
            for version in versions if repeat % 2 == 0 else versions[::-1]:
                found[version].append(_apart(version, corpus, world))
        print(f"one process of {world}: ms a batch, median" + (" (here, there, ratio)" if against else ""))
        for stage in found[SOURCES][0]:
            costs = [statistics.median(run[stage][0] for run in found[version]) for version in versions]
            digests = {run[stage][1] for runs in found.values() for run in runs}
            ratio = f"  {costs[0] / costs[1]:.2f}" if against else ""
            same = "" if len(digests) == 1 else "  NOT the same batches"
            print(f"  {stage:15}" + "  ".join(f"{cost:6.2f}" for cost in costs) + ratio + same, flush=True)


def _apart(version: Path, corpus: Path, world: int) -> dict[str, tuple[float, str]]:
    command = [sys.executable, __file__, "--measure", str(corpus), str(world)]
    environment = {**os.environ, "PYTHONPATH": str(version), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {stage: tuple(found) for stage, found in json.loads(done.stdout).items()}


def measure(corpus: Path, world: int) -> dict[str, tuple[float, str]]:
    """Rank 0 of `world` makes the batches of all stages: the cost of one, and the digest of all, by stage."""
    from qwenvl.config import load_recipe
    from qwenvl.data.loader import Batches
    from qwenvl.data.shards import ShardReader
    from qwenvl.model.load import PACKAGED
    from qwenvl.text.tokenizer import QwenTokenizer
    from qwenvl.train.parallel import Ranks
    from qwenvl.train.run import settings_of

    recipe, source, tokenizer = load_recipe("nano"), ShardReader(corpus), QwenTokenizer.load(PACKAGED / "nano")
    shared = {}
    if "pixels" in inspect.signature(Batches).parameters:
        # earlier versions decoded anew in each stage
        from qwenvl.data.pixel_cache import PixelCache

        shared["pixels"] = PixelCache()
    found = {}
    # else the collector's one walk over all that is imported falls on some stage, and a short one looks slow
    gc.freeze()
    for index, stage in enumerate(recipe.stages):
        settings = settings_of(stage, index, recipe.seed, recipe.model_spec.adapter.queries, Ranks(0, world))
        batches = iter(Batches([_part(source)], tokenizer, settings, **shared))
        count, spent, digest = stage.steps // PART, 0.0, hashlib.blake2b(digest_size=16)
        for _ in range(count):
            begun = time.process_time()
            batch = next(batches)
            spent += time.process_time() - begun
            for key in ("ids", "labels", "positions", "segments", "branches", "pixels", "image_index"):
                array = getattr(batch, key)
                digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
            rest = [batch.tasks, batch.samples, batch.supervised, batch.runs, batch.state]
            digest.update(json.dumps(rest, sort_keys=True).encode())
        found[stage.name] = (1000 * spent / count, digest.hexdigest())
    return found


def _part(source: Any) -> Any:
    try:
        from qwenvl.data.mixture import Part
    except ImportError:
        # earlier versions had no mixtures
        return source, 1.0
    return Part(source)


if __name__ == "__main__":
    main()
