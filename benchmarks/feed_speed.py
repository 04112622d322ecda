"""Pictures a second that each core feeds to training: ours beside PyTorch's DataLoader with PIL as usually written.

    python benchmarks/feed_speed.py [--pictures 2000] [--side 448] [--workers 2] [--repeats 5]

JPEGs of 448 × 448 become normalised float32 batches in the training process, made ahead by worker processes. Usually: a
data set that opens a file, converts, resizes and normalises it, batches of 28, shuffled. Ours does more: captions in
Parquet shards, shuffled by row groups, rendered, tokenised and packed into rows of 2,048 with 256 slots a picture. No
decoded picture is kept, as with a corpus that is larger than memory. "bytes" is ours up to where a GPU takes over: it
is the GPU that normalises there. Processor seconds of all processes, after the imports; the sides take turns.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage

BATCH = 28
"""Pictures a batch: about those of four packed rows."""


def main() -> None:
    """Print the median of each side and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=448, help="of the JPEGs; the model's is 448")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]), options.workers)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.pictures, options.side)
        speeds: dict[str, list[float]] = {"usual": [], "ours": [], "bytes": []}
        for _ in range(options.repeats):
            for side, found in speeds.items():
                found.append(_apart(side, folder, options.workers))
    print(f"pictures a core-second, {options.workers} workers, {options.repeats} turns: median (least, most)")
    for side, found in speeds.items():
        print(f"  {side:6}{statistics.median(found):7.0f}  ({min(found):.0f}, {max(found):.0f})")
    for side in ("ours", "bytes"):
        ratios = [here / there for here, there in zip(speeds[side], speeds["usual"], strict=True)]
        print(f"  {side} / usual {statistics.median(ratios):.2f}  ({min(ratios):.2f}, {max(ratios):.2f})")


def make(folder: Path, count: int, side: int) -> None:
    """The same pictures as files and as shards, and a tokenizer."""
    from qwenvl.data.shard_writer import write_shards
    from qwenvl.sample import Caption, Image, Record
    from qwenvl.text.tokenizer import QwenTokenizer

    (folder / "files").mkdir()
    draw = np.random.default_rng(0)
    records = []
    for number in range(count):
        rough = PILImage.fromarray(draw.integers(0, 256, (56, 56, 3), np.uint8))
        file = io.BytesIO()
        rough.resize((side, side), PILImage.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (folder / "files" / f"{number:06d}.jpg").write_bytes(file.getvalue())
        caption = Caption(f"picture number {number} of {draw.integers(10**9)} colours and some further words")
        records.append(Record(str(number), "made", (Image(file.getvalue(), side, side),), (caption,)))
    write_shards(records, folder / "shards")
    QwenTokenizer.train_small([caption.text for record in records for caption in record.captions], 1000).save(
        folder / "tokenizer"
    )


def _apart(side: str, folder: Path, workers: int) -> float:
    command = [sys.executable, __file__, "--workers", str(workers), "--measure", side, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout))


def measure(side: str, folder: Path, workers: int) -> float:
    """Pictures a core-second of one side, in this process and its workers."""
    import pyarrow.parquet  # noqa: F401

    batches = usual(folder, workers) if side == "usual" else ours(folder, workers, normalised=side == "ours")
    begun, count = _spent(), 0
    for batch in batches:
        assert batch.shape[1:] in ((3, 448, 448), (448, 448, 3))
        count += len(batch)
        # as a step does before it takes the next
        del batch
    return count / (_spent() - begun)


def _spent() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """A data set as usually written."""

    def __init__(self, folder: Path, side: int = 448) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.side = side
        self.mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
        self.std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with PILImage.open(self.files[index]) as file:
            picture = file.convert("RGB").resize((self.side, self.side), PILImage.Resampling.BICUBIC)
        # what torchvision's ToTensor and Normalize do
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self.mean).div_(self.std)


def usual(folder: Path, workers: int) -> Iterable[torch.Tensor]:
    """All pictures once."""
    return torch.utils.data.DataLoader(
        Pictures(folder / "files"), BATCH, shuffle=True, num_workers=workers, drop_last=True
    )


def ours(folder: Path, workers: int, normalised: bool) -> Iterable[torch.Tensor | Any]:
    """As many packed batches as all pictures fill, but for what waits in the packer at the end."""
    from qwenvl.data.loader import Batches, Settings
    from qwenvl.data.mixture import Part, Share
    from qwenvl.data.pixel_cache import PixelCache
    from qwenvl.data.shards import ShardReader
    from qwenvl.text.tokenizer import QwenTokenizer
    from qwenvl.train.batch import pixels_of

    source = ShardReader(folder / "shards")
    settings = Settings({"caption": Share(1.0, 1)}, 448, 256, 2048, 4, 0)
    tokenizer, cpu = QwenTokenizer.load(folder / "tokenizer"), torch.device("cpu")
    batches = Batches([Part(source)], tokenizer, settings, pixels=PixelCache(0))
    count = (len(source) - settings.buffer) // BATCH
    # the workers start with the first batch, when the time runs
    return ((pixels_of(batch, cpu)[0] if normalised else batch.pixels) for batch in _later(batches, count, workers))


def _later(batches: Any, count: int, workers: int) -> Iterator[Any]:
    from qwenvl.train.feed import Feed

    yield from Feed(batches, count, workers)


if __name__ == "__main__":
    main()
