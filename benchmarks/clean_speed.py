"""Cleaning as a whole: `qwenvl data clean` beside a plain loop and, where it is installed, Data-Juicer.

    python benchmarks/clean_speed.py [--pairs 5000] [--repeats 3] [--folder FOLDER] [--data-juicer VENV]

Pairs are JPEGs of 200 to 800 px with img2dataset's .json and .txt in tars of 2,500, and the same as JSON lines with a
folder of pictures; made once into FOLDER (a temporary one without it). All ways take turns; printed are medians, in CPU
seconds, user and system. First one process without start-up: a plain loop (tarfile, json, Pillow's header, three
conditions, pyarrow), which tells how fast the machine is today, and the work on our units: reading, all rules of the
recipe, ledgers, shards. Then whole commands, all their processes counted, less the start-up (the same command on one
pair); they end with a page of pictures, a second of work whatever the number of pairs.

Data-Juicer (py-data-juicer in a virtual environment of its own) runs the same three rules on the same JSON lines with
one process; which pairs both keep is compared one by one. It decodes every picture, which these rules do not need: it
stands beside our run without and with full decode.
Linux alone: processes that outlive their parent are waited for by this one (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clean_read import jpeg
from clean_rules import WORDS
from PIL import Image as PILImage

from qwenvl.data.clean.layout import prepare
from qwenvl.data.clean.recipe import load_clean_recipe
from qwenvl.data.clean.unit import FirstPass
from qwenvl.data.sources.pairs import Columns, list_units

SUBREAPER = 36
PER_TAR = 2500
EQUIVALENT = """
name: equivalent
rules:
  - aspect_ratio: {max: 3.0}
  - size: {min: 200}
  - words: {min: 3, max: 60}
"""
DATA_JUICER = """
project_name: bench
dataset_path: {rows}
export_path: {out}/out.jsonl
np: 1
use_cache: false
process:
  - image_aspect_ratio_filter: {{min_ratio: 0.3333333, max_ratio: 3.0}}
  - image_shape_filter: {{min_width: 200, min_height: 200}}
  - words_num_filter: {{lang: en, min_num: 3, max_num: 60}}
"""


def make(folder: Path, count: int) -> None:
    """The pairs in both forms, and one pair alone."""
    random_ = np.random.default_rng(0)
    draw = random.Random(0)
    words = [word for word in WORDS.split() if word.isascii()]
    pictures = folder / "jsonl" / "images"
    for name in (folder / "tar", folder / "one", folder / "one-jsonl" / "images", pictures):
        name.mkdir(parents=True)
    lines = []
    for begin in range(0, count, PER_TAR):
        with tarfile.open(folder / "tar" / f"{begin // PER_TAR:05d}.tar", "w") as tar:
            for number in range(begin, min(begin + PER_TAR, count)):
                buffer = io.BytesIO()
                picture = jpeg(random_)
                picture.save(buffer, "JPEG", quality=85)
                caption = " ".join(draw.choices(words, k=draw.choice((1, 2, 6, 9, 12, 18, 70))))
                key = f"{number:09d}"
                row = {
                    "caption": caption, "url": f"https://example.com/{number}.jpg", "key": key, "status": "success",
                    "error_message": None, "width": picture.width, "height": picture.height, "exif": "{}",
                    "sha256": f"{number:064x}", "similarity": 0.3,
                }  # fmt: skip
                for ending, body in (
                    ("jpg", buffer.getvalue()),
                    ("json", json.dumps(row).encode()),
                    ("txt", caption.encode()),
                ):
                    about = tarfile.TarInfo(f"{key}.{ending}")
                    about.size = len(body)
                    tar.addfile(about, io.BytesIO(body))
                (pictures / f"{key}.jpg").write_bytes(buffer.getvalue())
                lines.append({"image": f"images/{key}.jpg", "key": key, "caption": caption})
    (folder / "jsonl" / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "one-jsonl" / "rows.jsonl").write_text(json.dumps(lines[0]) + "\n")
    shutil.copy(pictures / f"{lines[0]['key']}.jpg", folder / "one-jsonl" / "images")
    with tarfile.open(folder / "tar" / "00000.tar") as tar, tarfile.open(folder / "one" / "00000.tar", "w") as one:
        for _ in range(3):
            member = tar.next()
            assert member is not None
            one.addfile(member, tar.extractfile(member))


@dataclass
class Taken:
    """What a command took: seconds of wall clock and CPU, and the most memory (PSS, bytes; 0 if not watched)."""

    wall: float
    cpu: float
    memory: int = 0


def take(command: Sequence[str], watch: bool = False) -> Taken:
    """Run a command to the end of its last process."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most = 0
    while watch and process.poll() is None:
        most = max(most, memory_below(os.getpid()))
        time.sleep(0.02)
    told = process.communicate()[1]
    wall = time.monotonic() - begin
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{told[-2000:]}")
    while True:  # what outlived it
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, most)


def memory_below(top: int) -> int:
    """PSS of all processes below one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    total = 0
    for process in parents:
        at = parents[process]
        while at not in (0, top):
            at = parents.get(at, 0)
        if at == top:
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def ours(source: Path, out: Path, *more: str, workers: int = 1, watch: bool = False) -> Taken:
    """Our command, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "qwenvl", "data", "clean", str(source), str(out), "--workers", str(workers)]
    return take([*command, *more], watch)


def plain(source: Path, out: Path) -> float:
    """CPU seconds of a loop that anybody would write."""
    begin = time.process_time()
    for path in sorted(source.glob("*.tar")):
        rows, parts = [], {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                parts[ending] = tar.extractfile(member).read()  # type: ignore[union-attr]
                if len(parts) == 3:
                    width, height = PILImage.open(io.BytesIO(parts["jpg"])).size
                    caption, meta = parts["txt"].decode(), json.loads(parts["json"])
                    sides = sorted((width, height))
                    if sides[1] <= 3 * sides[0] and sides[0] >= 200 and 3 <= len(caption.split()) <= 60:
                        rows.append({"id": key, "image": parts["jpg"], "caption": caption, **meta})
                    parts = {}
        pq.write_table(pa.Table.from_pylist(rows), out / "plain.parquet", row_group_size=256)
    return time.process_time() - begin


def units(source: Path, out: Path, *overrides: str) -> float:
    """CPU seconds of our work on all units, in this process."""
    shutil.rmtree(out, ignore_errors=True)
    recipe = load_clean_recipe("pretrain", overrides)
    found = list_units(str(source))
    layout = prepare(out, found, Columns(), recipe, fresh=False)
    work = FirstPass(layout, recipe.rules, frozenset(), Columns(), settles=True)
    begin = time.process_time()
    for unit in found:
        work(unit)
    return time.process_time() - begin


def data_juicer(venv: Path, source: Path, out: Path) -> Taken:
    """The peer's command on the same rows, in the form that it reads."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    rows = [json.loads(line) for line in (source / "rows.jsonl").read_text().splitlines()]
    with (out / "in.jsonl").open("w") as lines:
        for row in rows:
            words = {
                "text": row["caption"],
                "images": [str(source / row["image"])],
                "key": row["key"],
            }
            lines.write(json.dumps(words) + "\n")
    config = out / "config.yaml"
    config.write_text(DATA_JUICER.format(rows=out / "in.jsonl", out=out))
    return take([str(venv / "bin" / "dj-process"), "--config", str(config)])


def speed(name: str, count: int, whole: Sequence[Taken], start: Sequence[Taken]) -> float:
    """Print and give the pairs a CPU-second, the start-up taken off."""
    each = (statistics.median(t.cpu for t in whole) - statistics.median(t.cpu for t in start)) / (count - 1)
    print(f"{name:44}{1e6 * each:8.0f} CPU-µs a pair {1 / each:9,.0f} pairs a CPU-second")
    return 1 / each


def main() -> None:
    """Make the pairs, then let all ways take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5000, help="how many (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each way (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="pairs are made and kept here")
    parser.add_argument("--data-juicer", type=Path, metavar="VENV", help="where py-data-juicer is installed")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        if not (folder / "tar").is_dir():
            make(folder, options.pairs)
        measure(folder, Path(temporary), options.pairs, options.repeats)
        if options.data_juicer:
            compare(folder, Path(temporary), options.pairs, options.data_juicer)


def measure(folder: Path, out: Path, count: int, repeats: int) -> None:
    """Our command in several forms beside the plain loop."""
    tar, one = folder / "tar", folder / "one"
    ways: dict[str, Callable[[Path], Taken]] = {
        "header only (recipe pretrain, not decodable)": lambda f: ours(f, out / "o", "decodable=null"),
        "header only, two workers": lambda f: ours(f, out / "o", "decodable=null", workers=2),
        "full decode (recipe pretrain)": lambda f: ours(f, out / "o"),
        "full decode, two workers": lambda f: ours(f, out / "o", workers=2),
        "full decode and near duplicates": lambda f: ours(f, out / "o", "near_duplicates={}"),
    }
    whole: dict[str, list[Taken]] = {name: [] for name in ways}
    start: dict[str, list[Taken]] = {name: [] for name in ways}
    alone: dict[str, Callable[[], float]] = {
        "plain loop: tarfile, Pillow, pyarrow": lambda: plain(tar, out),
        "our units, header only": lambda: units(tar, out / "o", "decodable=null"),
        "our units, full decode": lambda: units(tar, out / "o"),
    }
    inside: dict[str, list[Taken]] = {name: [] for name in alone}
    for repeat in range(repeats + 1):
        for name, single in alone.items():
            taken = Taken(0, single())
            inside[name] += [taken] if repeat else []  # the first warms up
    for _ in range(repeats):
        for name, way in ways.items():
            whole[name].append(way(tar))
            start[name].append(way(one))
    base = 0.0
    for name in alone:
        found = speed(name, count, inside[name], [Taken(0, 0)])
        base = base or found
        print(f"{'':44}{found / base:8.2f} times the plain loop")
    for name in ways:
        speed(name, count, whole[name], start[name])
    names = list(ways)
    print(f"start-up: {min(t.wall for t in start[names[0]]):.2f} s wall (fastest), "
          f"{statistics.median(t.cpu for t in start[names[0]]):.2f} CPU-seconds")  # fmt: skip
    for single, double in ((names[0], names[1]), (names[2], names[3])):
        walls = [min(t.wall for t in ts[n]) for ts in (whole, start) for n in (single, double)]
        cpus = [statistics.median(t.cpu for t in ts[n]) for ts in (whole, start) for n in (single, double)]
        wall = (walls[0] - walls[2]) / (walls[1] - walls[3])
        cpu = 2 * (cpus[0] - cpus[2]) / (cpus[1] - cpus[3])
        print(f"{single}, one to two workers: {wall:.2f} times by wall clock (fastest), {cpu:.2f} by CPU seconds")
    most = ours(tar, out / "o", workers=2, watch=True).memory
    print(f"memory of all processes with two workers (PSS): {most / 2**20:.0f} MiB; load {os.getloadavg()[0]:.1f}")


def compare(folder: Path, out: Path, count: int, venv: Path) -> None:
    """Data-Juicer on the same rows with the same rules, and which pairs both keep."""
    recipe = out / "equivalent.yaml"
    recipe.write_text(EQUIVALENT)
    rows, one = folder / "jsonl", folder / "one-jsonl"
    peer = speed("Data-Juicer", count, [data_juicer(venv, rows, out / "dj")], [data_juicer(venv, one, out / "dj1")])
    for name, more in (("the same rules here", []), ("… with full decode", ["decodable={}"])):
        mine = ours(rows, out / "o", "--recipe", str(recipe), *more)
        start = ours(one, out / "o1", "--recipe", str(recipe), *more)
        found = speed(name, count, [mine], [start])
        print(f"{'':44}{found / peer:8.1f} times Data-Juicer")
    theirs = {json.loads(line)["key"] for line in (out / "dj" / "out.jsonl").read_text().splitlines()}
    kept = {
        id.rpartition("/")[2]
        for path in sorted((out / "o").glob("[0-9]*.parquet"))
        for id in pq.read_table(path, columns=["id"])["id"].to_pylist()
    }
    print(
        f"kept: {len(kept):,} here, {len(theirs):,} there, {len(kept ^ theirs):,} pairs differ",
        sorted(kept ^ theirs)[:5],
    )


if __name__ == "__main__":
    main()
