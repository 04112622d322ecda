"""Reading web pairs, header only: this project's walk, JSON and `Pair.size` beside tarfile and Pillow.

    python benchmarks/clean_read.py [--pairs 2000] [--repeats 5] [--folder FOLDER]

Pairs are JPEGs of 200 to 800 px with img2dataset's .json and .txt, made once into FOLDER (a temporary one without it),
as tar, Parquet and JSON lines. All ways run in turns in one process; CPU seconds, median of the repeats. The peer reads
the tar with Python's tarfile, json and Pillow's header. With full decode `Pair.grey` and `Pair.pixels` stand beside
Pillow's load.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as PILImage

from qwenvl.data.sources.pairs import BadPair, list_units, read_unit


def jpeg(random: np.random.Generator) -> PILImage.Image:
    """Smooth colours, hard edges and some noise: 1.3 bits a pixel as a JPEG of quality 85, as pictures of the web."""
    width, height = (int(side) for side in random.integers(200, 801, 2))
    coarse = random.integers(0, 255, (max(height // 40, 2), max(width // 40, 2), 3), dtype=np.uint8)
    pixels = np.asarray(PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)).astype(
        np.int16
    )
    for _ in range(30):
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        pixels[top : top + height // 14, left : left + width // 10] = random.integers(0, 255, 3)
    noise = random.normal(0, 2.6, (height, width, 1)).round().astype(np.int16)
    return PILImage.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def make(folder: Path, count: int) -> None:
    """The same pairs in three forms."""
    random = np.random.default_rng(0)
    for name in ("tar", "parquet", "jsonl/images"):
        (folder / name).mkdir(parents=True)
    rows = []
    total = pixels = 0
    with tarfile.open(folder / "tar" / "00000.tar", "w") as tar, (folder / "jsonl" / "rows.jsonl").open("w") as lines:
        for number in range(count):
            picture = jpeg(random)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=85)
            content, key = buffer.getvalue(), f"{number:09d}"
            total, pixels = total + len(content), pixels + picture.width * picture.height
            row = {
                "caption": f"picture number {number} of some place with a thing in it",
                "url": f"https://example.com/pictures/{number}.jpg",
                "key": key,
                "status": "success",
                "error_message": None,
                "width": picture.width,
                "height": picture.height,
                "original_width": picture.width,
                "original_height": picture.height,
                "exif": "{}",
                "sha256": f"{number:064x}",
            }
            words = str(row["caption"]).encode()
            for ending, body in (("jpg", content), ("json", json.dumps(row).encode()), ("txt", words)):
                about = tarfile.TarInfo(f"{key}.{ending}")
                about.size = len(body)
                tar.addfile(about, io.BytesIO(body))
            (folder / "jsonl" / "images" / f"{key}.jpg").write_bytes(content)
            lines.write(json.dumps({"image": f"images/{key}.jpg", **row}) + "\n")
            rows.append({**row, "jpg": content})
    pq.write_table(pa.Table.from_pylist(rows), folder / "parquet" / "00000.parquet", row_group_size=100)
    print(f"{count:,} pairs, {total / count / 1000:.0f} kB each, {8 * total / pixels:.1f} bits a pixel")


def ours(folder: Path, decode: str = "") -> int:
    """Bytes of captions and sizes, so that all ways can be seen to have read the same."""
    found = 0
    for unit in list_units(str(folder)):
        for pair in read_unit(unit):
            assert not isinstance(pair, BadPair), pair
            found += sum(pair.size) + len(pair.caption or "") + len(pair.meta["url"])
            if decode:
                getattr(pair, decode)
    return found


def peer(path: Path, decode: bool) -> int:
    """tarfile, json and Pillow."""
    found = 0
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith(".jpg"):
                picture = PILImage.open(io.BytesIO(content))
                found += sum(picture.size)
                if decode:
                    picture.convert("RGB")
            elif member.name.endswith(".json"):
                found += len(json.loads(content)["url"])
            else:
                found += len(content.decode())
    return found


def main() -> None:
    """Make the pairs, then let all ways take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="made and kept here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "tar").is_dir():
            make(folder, options.pairs)
        tar = folder / "tar" / "00000.tar"
        ways: dict[str, Callable[[], int]] = {
            "tarfile + Pillow": lambda: peer(tar, False),
            "tar": lambda: ours(folder / "tar"),
            "Parquet": lambda: ours(folder / "parquet"),
            "JSON lines": lambda: ours(folder / "jsonl"),
            "tarfile + Pillow, decoded": lambda: peer(tar, True),
            "tar, decoded to grey": lambda: ours(folder / "tar", "grey"),
            "tar, decoded to pixels": lambda: ours(folder / "tar", "pixels"),
        }
        measure(ways, options.repeats, sum(1 for _ in read_unit(list_units(str(tar))[0])))


def measure(ways: dict[str, Callable[[], int]], repeats: int, pairs: int) -> None:
    """Print each way's median, and how many times as fast as the peer it is."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: set[int] = set()
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            begin = time.process_time()
            found.add(way())
            if repeat:  # the first warms up
                times[name].append(time.process_time() - begin)
    assert len(found) == 1, "the ways read different things"
    medians = {name: statistics.median(taken) / pairs for name, taken in times.items()}
    for name, taken in medians.items():
        against = medians["tarfile + Pillow" + (", decoded" if "decoded" in name else "")]
        print(
            f"{name:28}{1e6 * taken:8.0f} µs a pair {1 / taken:9,.0f} pairs a CPU-second {against / taken:6.2f} times"
        )


if __name__ == "__main__":
    main()
