"""kill -9, of a worker or of the whole job, at any moment: the same command again ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")

from qwenvl.data.clean.recipe import load_clean_recipe
from qwenvl.data.clean.run import clean
from tests.data.clean.crawl import SETWIDE, SLOW, tree, write_recipe, write_tars

ROOT = Path(__file__).parents[3]


def command(source: Path, out: Path, recipe: Path, workers: int) -> subprocess.Popen[bytes]:
    """The job, in processes of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "qwenvl", "data", "clean", str(source), str(out)),
            *("--recipe", str(recipe), "--workers", str(workers)),
        ],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def workers_of(job: int) -> list[int]:
    """The processes whose parent is the server that the job forks its workers from."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    return [process for process, parent in parents.items() if parents.get(parent) == job]


def until(condition: Callable[[], object], job: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and job.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def count(pattern: str, at_least: int = 1) -> Callable[[Path], bool]:
    return lambda out: len(list(out.glob(pattern))) >= at_least


MOMENTS = {
    "in the midst of the first unit": count("pass1/.*.draft"),
    "after a unit": count("pass1/*.json"),
    "later in the first pass": count("pass1/*.json", 3),
    "in the pass over the whole set": count(".setwide*"),
    "before the last pass": count("setwide.parquet"),
    "in the last pass": count("stats/*.json"),
    "at its end": count("stats/*.json", 4),
    "before the manifest": count("report.json"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bytes]]:
    """Input, recipe, and what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("clean")
    source, recipe = write_tars(folder / "set", 4, 40), write_recipe(folder, SLOW)
    clean(str(source), folder / "out", load_clean_recipe(recipe), workers=2, quiet=True)
    return source, recipe, tree(folder / "out")


def test_the_whole_job_is_killed_at_every_moment(
    tmp_path: Path, undisturbed: tuple[Path, Path, dict[str, bytes]]
) -> None:
    source, recipe, expected = undisturbed
    out = tmp_path / "out"
    killed = 0
    for number, reached in enumerate(MOMENTS.values()):
        job = command(source, out, recipe, workers=1 + number % 3)
        until(lambda reached=reached: reached(out), job)  # type: ignore[misc]
        killed += job.poll() is None
        job.kill()
        job.wait()
    assert killed >= 4  # the others were over before they were seen
    assert command(source, out, recipe, workers=2).wait() == 0
    assert tree(out) == expected


def test_workers_are_killed_again_and_again(tmp_path: Path, undisturbed: tuple[Path, Path, dict[str, bytes]]) -> None:
    source, recipe, expected = undisturbed
    out = tmp_path / "out"
    job = command(source, out, recipe, workers=2)
    killed = 0
    for moment in (count("pass1/.*.draft", 2), count("pass1/*.json"), count("pass1/*.json", 3)):
        until(lambda moment=moment: moment(out) and workers_of(job.pid), job)  # type: ignore[misc]
        for worker in workers_of(job.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    assert job.wait(60) == 0 and killed >= 2
    assert tree(out) == expected


def test_pairs_that_kill_their_worker_once(tmp_path: Path) -> None:
    source, marks = write_tars(tmp_path / "set", 3, 30), tmp_path / "marks"
    marks.mkdir()
    deadly = f"  - tests.data.clean.odd_rules.Deadly: {{folder: {marks}, every: 29}}\n"
    recipe = load_clean_recipe(write_recipe(tmp_path, SETWIDE + deadly))
    clean(str(source), tmp_path / "killed", recipe, workers=2, quiet=True)
    assert len(list(marks.iterdir())) >= 3
    clean(str(source), tmp_path / "out", recipe, workers=2, quiet=True)
    assert tree(tmp_path / "killed") == tree(tmp_path / "out")
