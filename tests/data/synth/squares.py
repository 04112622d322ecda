"""A maker for tests of the run: coloured squares, some of which are dropped. Other processes import it."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from qwenvl.data.synth.run import Tally
from qwenvl.sample import Image, Quad, Record, TextLine


@dataclass(frozen=True)
class Span:
    begin: int
    end: int

    @property
    def path(self) -> str:
        return f"{self.begin} to {self.end}"


@dataclass(frozen=True)
class Squares:
    """Every third square is dropped. Where `trap` is a path, the first call at square 10 kills its process."""

    shade: int
    trap: str = ""
    name = "squares"
    noun = "squares"

    def settings(self) -> Mapping[str, Any]:
        return {"shade": self.shade}

    def records(self, unit: Span, tally: Tally) -> Iterator[Record]:
        for number in range(unit.begin, unit.end):
            tally.counted["seen"] += 1
            if number == 10 and self.trap and not Path(self.trap).exists():
                Path(self.trap).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if number % 3 == 2:
                tally.dropped["a third"] += 1
                continue
            stream = io.BytesIO()
            PILImage.new("RGB", (40, 20), (number, self.shade, 0)).save(stream, "PNG")
            line = TextLine(str(number), Quad(((2, 3), (30, 3), (30, 15), (2, 15))))
            yield Record(f"square-{number}", "squares", (Image(stream.getvalue(), 40, 20),), lines=(line,))


def spans(count: int, each: int) -> list[Span]:
    return [Span(begin, min(begin + each, count)) for begin in range(0, count, each)]
