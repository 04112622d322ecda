"""The number of threads that a server chooses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qwenvl.model.load import Loaded, load
from qwenvl.serve import threads
from qwenvl.serve.threads import settle_threads


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(str(tiny_folder))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4, 6: 0.39}, 4),
        ({1: 1.0, 2: 1.02, 4: 2.0, 6: 5.0}, 1),
        ({1: 4.0, 2: 2.0, 4: 1.0, 6: 0.7}, 6),
    ],
)
def test_the_fastest_and_of_equal_ones_the_smallest(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, times: dict[int, float], chosen: int
) -> None:
    torch.set_num_threads(6)
    monkeypatch.setattr(threads, "_seconds", lambda model, rows, count: times[count])
    assert settle_threads(loaded.model) == torch.get_num_threads() == chosen


def test_it_is_measured_on_the_model(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "SECONDS", 0.01)
    assert settle_threads(loaded.model, rows=2) in (1, 2)
    torch.set_num_threads(1)
    assert settle_threads(loaded.model) == 1
