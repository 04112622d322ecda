"""The pass over all ledgers: CPU seconds and memory of each set rule, and whether a plain dictionary finds the same.

    python benchmarks/clean_setwide.py [--rows 2000000] [--unit 10000] [--repeats 3] [--memory 192]

Ledgers are made up: an image has one caption or more, 1.25 on average, in random order over all units, and a tenth of
the images looks like another one. Each measurement is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qwenvl.data.clean.rule import SetRule
from qwenvl.data.clean.rules.exact_duplicates import ExactDuplicates
from qwenvl.data.clean.rules.longest_caption import LongestCaption
from qwenvl.data.clean.rules.near_duplicates import NearDuplicates
from qwenvl.data.clean.setwide import MEMORY_MIB, apply, open_ledgers, show_kept

RULES: dict[str, list[SetRule]] = {
    "nothing (reading, writing)": [],
    "longest_caption by bytes": [LongestCaption(image=("digest",))],
    "longest_caption by bytes, address": [LongestCaption()],
    "exact_duplicates": [ExactDuplicates()],
    "near_duplicates, 4 bits": [NearDuplicates()],
}
FINDING = "longest_caption by bytes, finding alone"
PLAIN = "a Python dictionary, by bytes"


def make(folder: Path, rows: int, unit: int) -> None:
    """Ledgers of `rows` pairs in units of `unit`."""
    random = np.random.default_rng(0)
    images = int(rows / 1.25)
    order = np.concatenate([np.arange(images), random.integers(0, images, rows - images)])
    random.shuffle(order)
    digests = random.bytes(16 * images)
    phashes = random.integers(0, 2**63, images, np.uint64) * np.uint64(2)
    copies = random.integers(0, images, images // 10)
    phashes[copies] = phashes[random.integers(0, images, len(copies))] ^ np.uint64(0b1001)
    for number, begin in enumerate(range(0, rows, unit)):
        size = min(unit, rows - begin)
        image = order[begin : begin + size]
        raw = [digests[16 * i : 16 * i + 16] for i in image.tolist()]
        table = pa.table(
            {
                "row": np.arange(size),
                "id": [f"laion/{number:05d}/{begin + i:09d}" for i in range(size)],
                "source": ["laion"] * size,
                "url": [f"https://pictures.example.org/{i}.jpg" for i in image.tolist()],
                "kept": random.random(size) < 0.95,
                "caption": [f"caption number {i} of a made-up picture" for i in range(size)],
                "characters": random.integers(5, 200, size).astype(np.int32),
                "width": (200 + image % 600).astype(np.int32),
                "height": (200 + image % 400).astype(np.int32),
                "digest": pa.array(raw, pa.uuid()),
                "phash": phashes[image],
            }
        )
        pq.write_table(table, folder / f"{number:05d}.ledger.parquet", compression="zstd")


def ledgers(folder: Path) -> list[Path]:
    """The made ledgers in the order of their units."""
    return sorted(folder.glob("*.ledger.parquet"))


def plain(folder: Path) -> dict[str, str]:
    """Dropped id → winner of the longest caption by bytes, all in memory."""
    best: dict[str, tuple[int, str]] = {}
    tables = [pq.read_table(path, columns=["id", "digest", "characters", "kept"]) for path in ledgers(folder)]
    kept = [
        row
        for table in tables
        for row in zip(
            table["id"].to_pylist(),
            table["digest"].combine_chunks().storage.to_pylist(),
            table["characters"].to_pylist(),
            table["kept"].to_pylist(),
            strict=True,
        )
        if row[3]
    ]
    for id, digest, characters, _ in kept:
        if digest not in best or characters > best[digest][0]:
            best[digest] = (characters, id)
    return {id: best[digest][1] for id, digest, _, _ in kept if best[digest][1] != id}


def find(folder: Path, memory: int) -> int:
    """How many pairs the longest caption drops: its SELECT over the ledgers, without winners' names and a file."""
    database = duckdb.connect(config={"memory_limit": f"{memory}MiB", "temp_directory": str(folder / "spill")})
    open_ledgers(database, ledgers(folder))
    show_kept(database)
    (select,) = LongestCaption(image=("digest",)).drops(database)
    return int(database.execute(f"SELECT count(*), max(winner), max(value) FROM ({select})").fetchall()[0][0])


def measure(folder: Path, name: str, memory: int) -> dict[str, float]:
    """CPU seconds, peak memory and pairs dropped; run in a process of its own."""
    before = os.times()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if name == PLAIN:
        count = len(plain(folder))
    elif name == FINDING:
        count = find(folder, memory)
    else:
        out = apply(ledgers(folder), RULES[name], folder / f"out-{os.getpid()}.parquet", memory_mib=memory)
        count = pq.read_metadata(out).num_rows
        out.replace(folder / "last.parquet")
    after = os.times()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = after.user + after.system - before.user - before.system
    return {"cpu": cpu, "peak": peak, "base": base, "dropped": count}


def main() -> None:
    """Make the ledgers, measure each rule in turn, compare with the dictionary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="pairs (default: %(default)s)")
    parser.add_argument("--unit", type=int, default=10_000, help="pairs of a unit (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("--memory", type=int, default=MEMORY_MIB, help="MiB for DuckDB (default: %(default)s)")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[1]), options.one[0], options.memory)))
        return
    folder = Path(tempfile.mkdtemp(prefix="clean_setwide-"))
    try:
        make(folder, options.rows, options.unit)
        names = [*RULES, FINDING, PLAIN]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name in names:
                command = [sys.executable, __file__, "--one", name, str(folder), "--memory", str(options.memory)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{options.rows:,} pairs in {len(ledgers(folder))} ledgers, {options.memory} MiB for DuckDB")
        for name, runs in found.items():
            cpu = statistics.median(run["cpu"] for run in runs)
            peak = max(run["peak"] for run in runs)
            print(
                f"{name:36} {cpu:6.2f} CPU-s ({min(r['cpu'] for r in runs):.2f} to {max(r['cpu'] for r in runs):.2f}), "
                f"{peak:5.0f} MiB at most ({runs[0]['base']:.0f} before), {runs[0]['dropped']:,.0f} dropped"
            )
        rule = RULES["longest_caption by bytes"]
        out = apply(ledgers(folder), rule, folder / "compared.parquet", memory_mib=options.memory)
        ids = [pq.read_table(path, columns=["id"])["id"] for path in ledgers(folder)]
        drops = pq.read_table(out).to_pylist()
        same = {ids[drop["unit"]][drop["row"]].as_py(): drop["winner"] for drop in drops} == plain(folder)
        print(f"the dictionary drops {'the same pairs for the same winners' if same else 'OTHER PAIRS'}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
