"""Making a run's corpus on disk: scenes drawn by several processes, or the user's own files read once and checked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwenvl.data.shard_writer import merge_manifest, write_shard, write_shards
from qwenvl.data.shards import ShardReader
from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.synth.scenes import Split, scene_record
from qwenvl.sample import Record

ROWS_PER_SHARD = 500
MANIFEST = "manifest.json"


def make_scenes(
    folder: Path, count: int, size: int = 96, seed: int = 0, split: Split = "train", quiet: bool = False
) -> ShardReader:
    """Scenes 0 … count−1 of (seed, split) as shards in `folder`, drawn by a process per core.

    A shard that is already there is not drawn again, so an interrupted call continues. Raises DataError when the folder
    holds something else.
    """
    meta = {"scenes": count, "size": size, "seed": seed, "split": split}
    if (folder / MANIFEST).is_file():
        return _same(folder, meta)
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.json"
    if plan.is_file() and json.loads(plan.read_text(encoding="utf-8")) != meta:
        shutil.rmtree(folder)
        folder.mkdir()
    plan.write_text(json.dumps(meta), encoding="utf-8")
    there = {int(path.stem) for path in folder.glob("[0-9]*.parquet")}
    jobs = [
        (number, begin, min(count, begin + ROWS_PER_SHARD))
        for number, begin in enumerate(range(0, count, ROWS_PER_SHARD))
    ]
    with (
        ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        tqdm(total=count, desc="scenes", unit="scene", disable=quiet) as bar,
    ):
        bar.update(sum(end - begin for number, begin, end in jobs if number in there))
        left = [
            pool.submit(_shard, folder, number, begin, end, size, seed, split)
            for number, begin, end in jobs
            if number not in there
        ]
        for done in as_completed(left):
            bar.update(done.result())
    merge_manifest(folder, meta)
    plan.unlink()
    return ShardReader(folder)


def store_sources(
    files: Sequence[str | Path],
    folder: Path,
    strict: bool = False,
    quiet: bool = False,
    image_root: Path | None = None,
) -> ShardReader:
    """Read the user's files once into shards, pictures copied in; what is skipped is printed by file and line. A single
    folder of shards is not copied: `folder` becomes a link to it.

    The rows' pictures are looked for in `image_root`, without one in the folder of each file. Raises DataError when a
    file has no usable row, when `folder` was made from other files, and, with `strict`, at the first bad row.
    """
    stored = (folder / MANIFEST).is_file() and not folder.is_symlink()
    if len(files) == 1 and (Path(files[0]) / MANIFEST).is_file() and not stored:
        return _linked(Path(files[0]).resolve(), folder)
    names = [str(Path(file).resolve()) if Path(file).exists() else str(file) for file in files]
    meta: dict[str, Any] = {"files": names, "image_root": str(image_root.resolve()) if image_root else None}
    if (folder / MANIFEST).is_file():
        return _same(folder, meta)
    shutil.rmtree(folder, ignore_errors=True)
    with tqdm(desc="reading data", unit="record", disable=quiet) as bar:
        bad = BadRows(show=bar.write)
        records = chain.from_iterable(open_source(file, strict, bad, image_root) for file in files)
        write_shards(_counted(records, bar), folder, ROWS_PER_SHARD, meta)
    if bad.count or not quiet:
        print(bad.summary())
    return ShardReader(folder)


def _linked(corpus: Path, folder: Path) -> ShardReader:
    """A folder of shards is a corpus already, and may be too large to copy."""
    if folder.is_symlink() and folder.resolve() == corpus:
        return ShardReader(folder)
    if folder.is_symlink():
        raise DataError(
            f"{folder} was made from other data than {corpus}: choose another --out, or start over with --fresh"
        )
    shutil.rmtree(folder, ignore_errors=True)
    reader = ShardReader(corpus)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(corpus, target_is_directory=True)
    return reader


def _counted(records: Iterator[Record], bar: Any) -> Iterator[Record]:
    for record in records:
        bar.update()
        yield record


def _same(folder: Path, meta: dict[str, Any]) -> ShardReader:
    reader = ShardReader(folder)
    found = {key: reader.meta.get(key) for key in meta}
    if found != meta:
        raise DataError(
            f"{folder} was made from {found}, not from {meta}: choose another --out, or start over with --fresh"
        )
    return reader


def _shard(folder: Path, number: int, begin: int, end: int, size: int, seed: int, split: Split) -> int:
    write_shard([scene_record(seed, index, split, size) for index in range(begin, end)], folder, number)
    return end - begin
