"""Reading the sources once: records with pictures sorted into buckets by picture, text-only talk into shards.

All records of one picture, of whatever source, come into one bucket: what captions, questions and boxes of different
sets say about it can then be joined, a bucket at a time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from qwenvl.data.dialogues.exchanges import turn_tokens
from qwenvl.data.dialogues.recipe import DialogueRecipe, SourceSpec
from qwenvl.data.dialogues.strategies import TOO_LONG
from qwenvl.data.images import ImageError, encode
from qwenvl.data.shard_writer import ShardWriter, write_manifest, write_shards
from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.sample import Image, Record, Turn

T = TypeVar("T")

HELD_BYTES = 128 << 20
"""Encoded pictures that wait in memory for their buckets."""

BUCKETS, TEXTS = "pictures", "texts"
NO_PICTURE = "no picture: name it among the text sources"
NO_TALK = "no conversation"
HAS_PICTURE = "has a picture: name it among the sources"


@dataclass
class Gathered:
    """What reading counted: records by source, and what was not taken by source and reason."""

    read: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)

    def drop(self, source: str, reason: str, count: int = 1) -> None:
        """Count what is not taken."""
        self.dropped.setdefault(source, Counter())[reason] += count

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"read": dict(self.read), "dropped": {name: dict(some) for name, some in self.dropped.items()}}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Gathered:
        """What `to_json` gave."""
        return Gathered(Counter(found["read"]), {name: Counter(some) for name, some in found["dropped"].items()})


def gather(recipe: DialogueRecipe, folder: Path, strict: bool, quiet: bool) -> Gathered:
    """Read all sources into `folder`/pictures and `folder`/texts; both have a manifest at the end.

    What is there is thrown away. Rows that can not be used are shown, counted and skipped, or with `strict` end it as
    DataError; so does a source without a usable row.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / BUCKETS).mkdir(parents=True)
    found = Gathered()
    with tqdm(desc="reading", unit="record", disable=quiet or None) as bar:
        read = _Reader(found, strict, bar)
        with _Buckets(folder / BUCKETS, recipe.buckets) as buckets:
            for record in read.all(recipe.sources):
                if not record.images:
                    found.drop(record.source, NO_PICTURE)
                    continue
                try:
                    buckets.add(record)
                except ImageError as error:
                    if strict:
                        raise DataError(f"{record.source}, {record.id}: {error}") from error
                    found.drop(record.source, "the picture can not be read")
                    bar.write(str(error))
        if recipe.text is not None:
            talks = (talk for record in read.all(recipe.text.sources) for talk in _talks(record, recipe, found))
            write_shards(talks, folder / TEXTS, recipe.rows_per_unit)
    write_manifest(folder / BUCKETS, buckets.written())
    return found


class _Reader:
    def __init__(self, found: Gathered, strict: bool, bar: tqdm[None]) -> None:
        self.found, self.strict, self.bar = found, strict, bar

    def all(self, sources: Sequence[SourceSpec]) -> Iterator[Record]:
        for spec in sources:
            bad = BadRows(show=self.bar.write)
            for record in open_source(spec.source, self.strict, bad, spec.image_root):
                self.bar.update()
                self.found.read[record.source] += 1
                yield record
            for where, count in bad.fields.items():
                self.found.drop(spec.source, f"row: {where}", count)


def _talks(record: Record, recipe: DialogueRecipe, found: Gathered) -> Iterator[Record]:
    """A record's conversations, each as a record of its own."""
    if record.images:
        found.drop(record.source, HAS_PICTURE)
        return
    if not record.dialogues:
        found.drop(record.source, NO_TALK)
    for number, turns in enumerate(record.dialogues):
        if turn_tokens(turns, recipe.picture_tokens) > recipe.max_tokens:
            found.drop(record.source, TOO_LONG)
            continue
        yield Record(f"{record.id}/{number}", record.source, dialogues=(turns,))


class _Buckets:
    """Files that are open together; what waits for them in memory is bounded."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._waiting: dict[int, list[Record]] = {}
        self._bytes: Counter[int] = Counter()
        self._files: dict[int, ShardWriter] = {}
        self._rows: Counter[int] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> _Buckets:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            for number in sorted(self._waiting):
                self._write(number)
        self._stack.close()

    def add(self, record: Record) -> None:
        """Take a record with its pictures' bytes; raises ImageError where they can not be read."""
        record = loaded(record)
        number = int(picture_key(record), 16) % self._count
        self._waiting.setdefault(number, []).append(record)
        self._bytes[number] += sum(len(i.source) for i in record.images if isinstance(i.source, bytes))
        while self._bytes.total() > HELD_BYTES:
            self._write(self._bytes.most_common(1)[0][0])

    def written(self) -> list[dict[str, str | int]]:
        """The files for the manifest."""
        return [
            {"file": path.name, "rows": self._rows[number], "bytes": path.stat().st_size}
            for number in sorted(self._rows)
            for path in [self._folder / f"{number:05d}.parquet"]
        ]

    def _write(self, number: int) -> None:
        if number not in self._files:
            writer = ShardWriter(self._folder / f"{number:05d}.parquet")
            self._files[number] = self._stack.enter_context(writer)
        # records of one picture often follow one another: its bytes are then written once
        rows = joined(self._waiting.pop(number))
        self._files[number].add(rows, "PNG")
        self._rows[number] += len(rows)
        del self._bytes[number]


def loaded(record: Record) -> Record:
    """The record with the bytes of its pictures, and in `meta` "from" where it comes from, nothing else."""
    known: dict[str, Image] = {}

    def bytes_of(image: Image) -> Image:
        if image.key not in known:
            content = encode(image, "PNG")
            known[image.key] = image if image.source is content else replace(image, source=content)
        return known[image.key]

    talks = with_pictures(record.dialogues, bytes_of)
    origin = {"from": [f"{record.source}/{record.id}"]}
    images = tuple(map(bytes_of, record.images))
    return Record(record.id, record.source, images, record.captions, record.qas, record.phrases, record.lines,
                  dialogues=talks, meta=origin)  # fmt: skip


def with_pictures(dialogues: Iterable[tuple[Turn, ...]], put: Callable[[Image], Image]) -> tuple[tuple[Turn, ...], ...]:
    """The conversations with what `put` gives in the place of each picture."""
    return tuple(
        tuple(Turn(t.role, tuple(put(p) if isinstance(p, Image) else p for p in t.parts)) for t in turns)
        for turns in dialogues
    )


def picture_key(record: Record) -> str:
    """What records of the same picture share; several pictures make a key of their own."""
    keys = [image.key for image in record.images]
    if len(keys) == 1:
        return keys[0]
    return hashlib.blake2b("/".join(keys).encode(), digest_size=16).hexdigest()


def joined(records: Sequence[Record]) -> list[Record]:
    """Records of the same picture as one, in the order in which pictures first come; `meta` "from" names them all."""
    by_picture: OrderedDict[str, list[Record]] = OrderedDict()
    for record in records:
        by_picture.setdefault(picture_key(record), []).append(record)
    return [_one(some) for some in by_picture.values()]


def _one(records: Sequence[Record]) -> Record:
    first = records[0]
    known: dict[str, Image] = {image.key: image for image in first.images}
    talks = [turns for record in records for turns in record.dialogues]
    return Record(
        id=first.id,
        source=first.source,
        images=first.images,
        captions=_all(record.captions for record in records),
        qas=_all(record.qas for record in records),
        phrases=_all(record.phrases for record in records),
        lines=max((record.lines for record in records), key=len),
        # one object, or the picture would be written once for each
        dialogues=with_pictures(talks, lambda image: known.setdefault(image.key, image)),
        meta={"from": [origin for record in records for origin in record.meta["from"]]},
    )


def _all(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    """All of them, in order, the same one once."""
    return tuple(dict.fromkeys(item for some in parts for item in some))
