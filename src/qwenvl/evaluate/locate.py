"""Where a benchmark's files lie: its usual place below a data folder, or where the user says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from qwenvl.data.sources.public.registry import split_options, split_spec
from qwenvl.evaluate.benchmarks.benchmark import Benchmark, Data

TRAIN = ":train"
"""After a task's name: the split that its few-shot examples are from."""


class DataMissing(ValueError):
    """A benchmark's files are not there; the message says where they come from."""


def locate(benchmark: Benchmark, root: Path, given: Mapping[str, str], train: bool = False) -> Data:
    """The data of a benchmark, or of its training split. Nothing is downloaded.

    `given` maps a task's name (with `TRAIN` behind it for the examples) to `[READER:]PATH[?key=value&…]`; without it
    the usual place below `root` is taken. `images=` names the folder of the pictures. Raises DataMissing.
    """
    key = benchmark.name + TRAIN if train else benchmark.name
    usual = benchmark.train if train else benchmark.file
    spec = given.get(key)
    reader, path, options = benchmark.format, root / usual, dict(split_options(benchmark.query))
    if spec is not None:
        own_reader, name, found = split_spec(spec)
        reader, path = own_reader or benchmark.format, Path(name).expanduser()
        # another reader has options of its own
        options = dict(found) if own_reader else {**options, **dict(found)}
    if train and options.get("split") and spec is None:
        options["split"] = "train"
    if not path.exists():
        raise DataMissing(
            f"{benchmark.name}: no {path}. {benchmark.title} ({'train' if train else benchmark.split}) is "
            f"{benchmark.where}; put it there, or say where it lies: --data {key}=PATH[?images=DIR]"
        )
    pictures = options.pop("images", "")
    if pictures and not Path(pictures).is_dir():
        raise DataMissing(f"{benchmark.name}: no folder {pictures} for the pictures (images=)")
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    own_folder = path if path.is_dir() else path.parent
    usual_folders = [folder for name in benchmark.pictures if (folder := root / name).is_dir()]
    folders = [Path(pictures)] if pictures else [*usual_folders, own_folder]
    return Data(path, reader, query, tuple(folders))
