"""Builds of the tests run in their own process, where nothing is said of workers: starting others takes a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from qwenvl.data.engine import Outcome


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's `run`, unit by unit in this process."""

    def run(units: Sequence[Any], work: Callable[[Any], int], done: Callable[[Any], bool], **_: Any) -> Outcome[Any]:
        waiting = [unit for unit in units if not done(unit)]
        return Outcome(len(waiting), len(units) - len(waiting), sum(map(work, waiting)), ())

    monkeypatch.setattr("qwenvl.data.assemble.run.run", run)
