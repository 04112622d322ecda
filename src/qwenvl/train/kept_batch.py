"""A batch as a file, so that a person can look at what made a loss jump: `qwenvl inspect FILE.npz --model DIR`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from qwenvl.data.loader import Batch
from qwenvl.sample import Image
from qwenvl.text.render import Example, ImageSlot
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.typed import ConfigError

_FIELDS = ("ids", "labels", "positions", "segments", "branches", "pixels", "image_index")


def keep(path: Path, batches: Sequence[Batch]) -> list[Path]:
    """Write a step's micro-batches: `path` for the first, numbered beside it for the others. Gives the files.

    A disk that is full costs the file, not the run.
    """
    written = []
    for number, batch in enumerate(batches):
        target = path if not number else path.with_stem(f"{path.stem}-{number}")
        try:
            np.savez_compressed(target, tasks=np.array(batch.tasks), **{name: getattr(batch, name) for name in _FIELDS})
        except OSError:
            target.unlink(missing_ok=True)
            continue
        written.append(target)
    return written


def examples_of(path: Path, tokenizer: QwenTokenizer) -> list[Example]:
    """The rows of a kept batch as they were shown to the model; pictures in the model's size.

    Raises ConfigError for a file that is no such batch, or of another tokenizer.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids, labels, segments = arrays["ids"], arrays["labels"], arrays["segments"]
            pixels, index, tasks = arrays["pixels"], arrays["image_index"], arrays["tasks"].tolist()
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: no batch that a run kept ({error})") from None
    pictures = [Image(PILImage.fromarray(one), one.shape[1], one.shape[0], f"{n}") for n, one in enumerate(pixels)]
    shown = iter(index.tolist())
    examples = []
    for number, (row, label, segment, task) in enumerate(zip(ids, labels, segments, tasks, strict=True)):
        used = int((segment > 0).sum())
        row, label = row[:used].tolist(), label[:used].tolist()
        starts = [at for at, token in enumerate(row) if token == tokenizer.img_start_id]
        ends = [at for at, token in enumerate(row) if token == tokenizer.img_end_id]
        places = list(zip(starts, ends, strict=False))
        try:
            slots = tuple(ImageSlot(begin + 1, end - begin - 1, pictures[next(shown)]) for begin, end in places)
        except (StopIteration, IndexError):
            raise ConfigError(f"{path}: its pictures do not fit this tokenizer; name the run's with --model") from None
        examples.append(Example(row, label, slots, task, str(path), f"row {number}"))
    return examples
