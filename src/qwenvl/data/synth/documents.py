"""Synthetic documents: pages of text in English and Chinese with the quad of every line (paper, section 3.1 and
appendix A: the OCR data of stage 2, made with SynthDoG there).

Page `index` of a seed is the same whoever makes it and whenever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.data.synth.documents_fonts import FontError, FontFace, find_fonts, fingerprint
from qwenvl.data.synth.documents_paper import Photos, find_photos
from qwenvl.data.synth.documents_text import Sentences, TextSource, open_texts
from qwenvl.data.synth.documents_text import fingerprint as text_fingerprint
from qwenvl.data.synth.run import Tally
from qwenvl.sample import Image, Language, Record

_LEAST, _MOST = 25, 500  # pages of a unit
_LEAST_SIDE, _MOST_SIDE = 64, 8192


class DocumentError(ValueError):
    """A setting can not be used; the message says which and what would do."""


@dataclass(frozen=True)
class Span:
    """Pages from `begin` to before `end`."""

    begin: int
    end: int

    @property
    def path(self) -> str:
        """What the unit is called."""
        return f"documents {self.begin} to {self.end - 1}"


@dataclass(frozen=True)
class Documents:
    """The maker of synthetic documents; `documents` makes one from what a user says."""

    seed: int
    languages: tuple[Language, ...]
    faces: tuple[FontFace, ...]
    source: TextSource
    photos: Photos
    long_side: tuple[int, int]
    smallest: int
    name: str = field(default="documents", init=False)
    noun: str = field(default="documents", init=False)

    def settings(self) -> Mapping[str, Any]:
        """As in `Maker`."""
        return {
            "seed": self.seed,
            "languages": list(self.languages),
            "fonts": fingerprint(self.faces),
            "text": text_fingerprint(self.source),
            "photos": len(self.photos.paths),
            "long_side": list(self.long_side),
            "smallest": self.smallest,
        }

    def records(self, unit: Span, tally: Tally) -> Iterator[Record]:
        """As in `Maker`."""
        import cv2

        # workers share the cores
        cv2.setNumThreads(1)
        for index in range(unit.begin, unit.end):
            record = self.record(index, tally)
            if record is not None:
                yield record

    def record(self, index: int, tally: Tally) -> Record | None:
        """Page `index`. None, counted in `tally`, where no text fits on it."""
        from qwenvl.data.synth.documents_draw import draw

        made = draw(_look(self), self.seed, index, tally.dropped)
        if made is None:
            tally.dropped["page: no text on it"] += 1
            return None
        tally.counted["lines"] += len(made.lines)
        for kind in ("language", "layout", "view"):
            tally.counted[f"pages, {kind} {getattr(made, kind)}"] += 1
        image = Image(made.jpeg, *made.size)
        meta = {"language": made.language, "layout": made.layout, "view": made.view}
        return Record(f"documents-{self.seed}-{index}", "documents", (image,), lines=made.lines, meta=meta)


def documents(
    seed: int = 0,
    *,
    languages: Sequence[Language] = ("en", "zh"),
    texts: Sequence[Path] = (),
    font_folders: Sequence[Path] = (),
    system_fonts: bool = True,
    photo_folders: Sequence[Path] = (),
    long_side: tuple[int, int] = (448, 1280),
    smallest: int = 12,
) -> Documents:
    """The maker of documents whose longer side is in the range `long_side` and whose text is at least `smallest` pixels
    high (per em, in the picture; Chinese 1.2 times that).

    `texts` are UTF-8 files of running text, instead of the sentences that come with the package. Raises DocumentError,
    FontError, TextError and PhotoError.
    """
    import importlib

    for package in ("cv2", "fontTools"):
        importlib.import_module(package)
    if not _LEAST_SIDE <= long_side[0] <= long_side[1] <= _MOST_SIDE:
        raise DocumentError(
            f"long side {long_side[0]} to {long_side[1]}: expected two numbers of pixels, the smaller first, from "
            f"{_LEAST_SIDE} to {_MOST_SIDE}"
        )
    if not 6 <= smallest <= long_side[0] // 8:
        raise DocumentError(
            f"smallest text of {smallest} pixels: expected 6 to {long_side[0] // 8}, an eighth of the least long side"
        )
    source: TextSource = open_texts(texts) if texts else Sentences()
    chosen = tuple(language for language in source.languages if language in languages)
    if not chosen:
        found, asked = ", ".join(source.languages), ", ".join(languages)
        raise DocumentError(f"the text files are in {found}, but asked for is {asked}")
    faces = find_fonts(font_folders, system_fonts)
    for language in chosen:
        if not any(language in face.languages for face in faces):
            raise FontError(f"no font can write the language {language}: name a folder of fonts")
    return Documents(seed, chosen, faces, source, find_photos(photo_folders), long_side, smallest)


def spans(count: int) -> list[Span]:
    """`count` pages as units of work: enough of them for some workers, none so large that much is done again."""
    each = min(_MOST, max(_LEAST, count // 32))
    return [Span(begin, min(begin + each, count)) for begin in range(0, count, each)]


@functools.lru_cache(maxsize=2)
def _look(maker: Documents) -> Any:
    from qwenvl.data.synth.documents_draw import Look

    faces = {language: tuple(f for f in maker.faces if language in f.languages) for language in maker.languages}
    return Look(faces, maker.source, maker.photos, maker.long_side, maker.smallest)
