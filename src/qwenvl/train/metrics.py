"""What a run says while it trains: averages since the last line, to `metrics.jsonl` and the progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from qwenvl.data.loader import Batch
from qwenvl.train.gauges import Use
from qwenvl.train.parallel import Ranks
from qwenvl.train.peaks import mfu
from qwenvl.train.sinks import Sink


class Meter:
    """Sums losses per task, samples, pictures and tokens between two logged lines, over all ranks."""

    def __init__(self, tasks: Sequence[str], ranks: Ranks) -> None:
        self._tasks, self._ranks = list(tasks), ranks
        self._start()

    def _start(self) -> None:
        self._losses = torch.zeros(2, len(self._tasks), dtype=torch.float64)
        self._counts = torch.zeros(4, dtype=torch.float64)
        self._waited = 0.0
        self._begin = time.perf_counter()

    def add(self, batch: Batch, tasks: Mapping[str, tuple[float, int]]) -> None:
        """Take one micro-batch; `tasks` has the summed loss of each task and the number of its terms."""
        for task, (loss, count) in tasks.items():
            self._losses[:, self._tasks.index(task)] += torch.tensor([loss, count])
        used = int((batch.segments > 0).sum())
        self._counts += torch.tensor([batch.samples, len(batch.pixels), used, batch.ids.size])

    def pause(self, seconds: float) -> None:
        """Leave out time that was spent on something else."""
        self._begin += seconds

    def wait(self, seconds: float) -> None:
        """Count time spent waiting for data."""
        self._waited += seconds

    def line(self, use: Use) -> dict[str, Any]:
        """The averages since the last line, the use of the hardware among them; every rank must call it.

        `waits` has each rank's share of the time that it waited for data.
        """
        seconds = max(1e-9, time.perf_counter() - self._begin)
        waits = torch.zeros(self._ranks.readers, dtype=torch.float64)
        waits[self._ranks.reader] = self._waited / seconds
        sums = self._ranks.sum(torch.cat([self._losses.flatten(), self._counts, waits, torch.tensor([use.done])]))
        flops, use.done = float(sums[-1]), 0.0
        waits, sums = sums[-1 - len(waits) : -1], sums[: -1 - len(waits)]
        losses, tokens = sums[: 2 * len(self._tasks)].view(2, -1).tolist()
        samples, images, used, size = sums[2 * len(self._tasks) :].tolist()
        line: dict[str, Any] = {"loss": sum(losses) / max(1.0, sum(tokens))}
        for task, loss, count in zip(self._tasks, losses, tokens, strict=True):
            if count:
                line[f"loss/{task}"] = loss / count
        for name, value in (("samples", samples), ("images", images), ("tokens", used)):
            line[f"{name}_per_s"] = round(value / seconds, 1)
        line |= {"padding": round(1 - used / max(1.0, size), 5), "data_wait": round(float(waits.max()), 4)}
        if use.peak is not None:
            line["mfu"] = round(mfu(flops, seconds, use.peak * self._ranks.world), 4)
        line["waits"] = waits.tolist()
        self._start()
        return line


class Journal:
    """`metrics.jsonl` and a progress bar for one stage.

    A continued run drops lines past the step that it continues from. Without a path nothing is written: rank 0 alone
    has one.
    """

    def __init__(
        self,
        path: Path | None,
        stage: str,
        steps: int,
        begin: int,
        elapsed: float,
        quiet: bool = False,
        sinks: Sequence[Sink] = (),
        before: int = 0,
    ) -> None:
        """`before` steps were in earlier stages: `sinks` count on from them."""
        self._path, self._stage = path, stage
        self._sinks, self._before = sinks, before
        self._elapsed, self._started = elapsed, time.perf_counter()
        self._trim(begin)
        self._bar = tqdm(total=steps, initial=begin, desc=stage, unit="step", disable=quiet, dynamic_ncols=True)

    @property
    def elapsed(self) -> float:
        """Seconds of training in all stages so far, interruptions left out."""
        return self._elapsed + time.perf_counter() - self._started

    def advance(self) -> None:
        """One step done."""
        self._bar.update()

    def write(self, step: int, line: dict[str, Any]) -> None:
        """Append a line and show its loss and speed."""
        self.note(step, line)
        self._bar.set_postfix_str(f"loss {line['loss']:.3f}, {line['samples_per_s']:.0f} samples/s")

    def note(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append a line without showing it."""
        if not self._path or not numbers:
            return
        entry = {"stage": self._stage, "step": step, **numbers, "elapsed_s": round(self.elapsed, 1)}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:  # a disk that is full costs the line, not the run
            tqdm.write(f"{self._path}: a line could not be written ({error})")
        for sink in self._sinks:
            sink.write(self._before + step, numbers)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def _trim(self, begin: int) -> None:
        if self._path is None or not self._path.exists():
            return
        kept = []
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(text)
            except ValueError:
                continue
            if entry["stage"] != self._stage or entry["step"] <= begin:
                kept.append(text)
        self._path.write_text("".join(text + "\n" for text in kept), encoding="utf-8")
