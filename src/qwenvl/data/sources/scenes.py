"""The scene world as a source: `scenes:train?seed=0&count=1000` (also `start` and `size`)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

from qwenvl.data.sources.report import DataError
from qwenvl.data.synth.scenes import Split, scene_record
from qwenvl.sample import Record

PREFIX = "scenes:"
_DEFAULTS = {"seed": 0, "count": 1000, "start": 0, "size": 96}


def open_scenes(spec: str) -> Iterator[Record]:
    """The scenes of a spec. Raises DataError for a split or a setting that does not exist."""
    form = "expected scenes:SPLIT?seed=0&count=1000&start=0&size=96 with SPLIT train, val or test"
    split, _, query = spec.removeprefix(PREFIX).partition("?")
    splits: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
    if split not in splits:
        raise DataError(f"{spec}: unknown split {split!r}; {form}")
    settings = dict(_DEFAULTS)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in settings:
            raise DataError(f"{spec}: unknown setting {name!r}; {form}")
        if not (value.isascii() and value.isdigit()):
            raise DataError(f"{spec}: {name} must be a whole number, not {value!r}; {form}")
        settings[name] = int(value)
    if settings["size"] < 48:
        raise DataError(f"{spec}: size must be 48 pixels or more, not {settings['size']}")
    first, last = settings["start"], settings["start"] + settings["count"]
    return (scene_record(settings["seed"], index, splits[split], settings["size"]) for index in range(first, last))
