"""Where a run's numbers go beside `metrics.jsonl`: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

SinkName = Literal["tensorboard", "wandb"]


class Sink(Protocol):
    """Takes the numbers of a run. `step` counts over all stages, so that curves do not fold back."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """A logged line's numbers."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


def check_sinks(names: Sequence[SinkName]) -> None:
    """Raises ImportError for one whose package is not installed."""
    for name in names:
        importlib.import_module(name)


def open_sinks(names: Sequence[SinkName], folder: Path, about: Mapping[str, Any]) -> list[Sink]:
    """The sinks of a run in `folder`; `about` is its recipe."""
    return [_Board(folder) if name == "tensorboard" else _Wandb(folder, about) for name in names]


class _Board:
    """Event files in `folder/tensorboard`: tensorboard --logdir runs."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of the project qwenvl under the folder's name, continued where the folder's run is; WANDB_* apply."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        import wandb

        marker = folder / "wandb-id.txt"
        if not marker.exists():
            marker.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        self._run = wandb.init(
            project="qwenvl",
            name=folder.name,
            id=marker.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=folder,
            config=dict(about),
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()
