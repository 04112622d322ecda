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
from qwenvl.train.parallel import Ranks


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

    def wait(self, seconds: float) -> None:
        """Count time spent waiting for data."""
        self._waited += seconds

    def line(self) -> dict[str, Any]:
        """The averages since the last line; every rank must call it."""
        sums = self._ranks.sum(torch.cat([self._losses.flatten(), self._counts]))
        seconds = max(1e-9, time.perf_counter() - self._begin)
        losses, tokens = sums[: 2 * len(self._tasks)].view(2, -1).tolist()
        samples, images, used, size = sums[2 * len(self._tasks) :].tolist()
        line: dict[str, Any] = {"loss": sum(losses) / max(1.0, sum(tokens))}
        for task, loss, count in zip(self._tasks, losses, tokens, strict=True):
            if count:
                line[f"loss/{task}"] = loss / count
        for name, value in (("samples", samples), ("images", images), ("tokens", used)):
            line[f"{name}_per_s"] = round(value / seconds, 1)
        line |= {"padding": round(1 - used / max(1.0, size), 5), "data_wait": round(self._waited / seconds, 4)}
        self._start()
        return line


class Journal:
    """`metrics.jsonl` and a progress bar for one stage.

    A continued run drops lines past the step that it continues from. Without a path nothing is written: rank 0 alone
    has one.
    """

    def __init__(
        self, path: Path | None, stage: str, steps: int, begin: int, elapsed: float, quiet: bool = False
    ) -> None:
        self._path, self._stage = path, stage
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
        entry = {"stage": self._stage, "step": step, **line, "elapsed_s": round(self.elapsed, 1)}
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        self._bar.set_postfix_str(f"loss {line['loss']:.3f}, {line['samples_per_s']:.0f} samples/s")

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
