"""Units of work: each done once whatever dies on the way, failures told and counted, the rest done all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qwenvl.data.engine import EngineError, Outcome, run
from qwenvl.data.engine.progress import Progress, duration
from tests.data.engine import jobs

ROOT = Path(__file__).parents[3]


def units(folder: Path, count: int = 12) -> list[Path]:
    return [folder / f"{number}.done" for number in range(count)]


def test_all_units_are_done_and_none_twice(tmp_path: Path) -> None:
    todo = units(tmp_path)
    assert run(todo, jobs.counted, jobs.done, workers=2, quiet=True) == Outcome(12, 0, 120, ())
    assert run(todo, jobs.counted, jobs.done, workers=2, quiet=True) == Outcome(0, 12, 0, ())
    assert {unit.with_suffix(".tries").read_text() for unit in todo} == {"x"}
    assert str(os.getpid()) not in {unit.read_text() for unit in todo}


def test_a_unit_that_fails_or_kills_its_worker_is_tried_again(tmp_path: Path) -> None:
    found = run(units(tmp_path), jobs.flaky, jobs.done, workers=2, quiet=True)
    assert (found.done, found.failed) == (12, ())
    tries = [unit.with_suffix(".tries") for unit in units(tmp_path)]
    assert [len(path.read_text()) if path.exists() else 0 for path in tries] == [0, 1] * 6


def test_what_never_goes_well_is_listed_and_the_rest_is_done(tmp_path: Path) -> None:
    found = run(units(tmp_path), jobs.hopeless, jobs.done, workers=2, retries=1, quiet=True)
    assert found.done == 10 and len(list(tmp_path.glob("*.done"))) == 10
    told = {failure.unit.stem: (failure.why, failure.attempts) for failure in found.failed}
    assert told == {
        "3": ("RuntimeError: Local: of no known kind", 2),
        "5": ("its process ended with code 7", 2),
    }
    with pytest.raises(EngineError, match=r"2 of 12 units failed(.|\n)*3\.done: .*(.|\n)*same command again"):
        found.check(str)
    assert len((tmp_path / "5.tries").read_text()) == 2


def test_the_run_ends_where_all_units_fail(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"4 units in a row failed.*input/output error"):
        run(units(tmp_path), jobs.broken, jobs.done, workers=1, max_failures=4, quiet=True)
    assert len(list(tmp_path.glob("*.tries"))) == 4


def test_a_full_disk_ends_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space left"):
        run(units(tmp_path), jobs.full, jobs.done, workers=1, quiet=True)
    assert len(list(tmp_path.glob("*.tries"))) == 1


def test_work_that_leaves_no_mark_is_not_believed(tmp_path: Path) -> None:
    found = run(units(tmp_path, 2), jobs.forgetful, jobs.done, workers=1, retries=0, quiet=True)
    assert [failure.why for failure in found.failed] == [
        "RuntimeError: it ended well, but what it made is not to be seen here: do all machines share it?"
    ] * 2


def test_a_unit_is_done_when_its_mark_is_there_even_if_nobody_could_say_so(tmp_path: Path) -> None:
    assert run(units(tmp_path, 3), jobs.late, jobs.done, workers=2, quiet=True) == Outcome(3, 0, 0, ())


SCRIPT = """
import signal
import sys
from pathlib import Path
from qwenvl.data.engine import run
from tests.data.engine import jobs

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    folder = Path(sys.argv[1])
    try:
        run([folder / f"{n}.done" for n in range(40)], jobs.slow, jobs.done, workers=2, quiet=True)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(list(tmp_path.glob("*.done"))) >= 4)
    process.send_signal(how)
    said = process.communicate(timeout=20)[1]
    if how == signal.SIGINT:
        assert "Interrupted: stopped after" in said and "goes on there" in said
    workers = {int(path.read_text()) for path in tmp_path.glob("*.done")}
    until(lambda: not any(map(alive, workers)))
    left = len(list(tmp_path.glob("*.done")))
    time.sleep(0.5)
    assert len(list(tmp_path.glob("*.done"))) == left < 40


def until(condition, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_line_tells_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("pass 1", 40, 10, "pairs", quiet=False)
    for _ in range(5):
        progress.step(1200)
    assert progress.line(12.0) == "pass 1: 15 of 40 units, 6,000 pairs, 500 a second, 1 min 0 s left"
    progress.show()
    assert capsys.readouterr().err.startswith("pass 1: 15 of 40 units, 6,000 pairs")
    progress.show()
    assert capsys.readouterr().err == ""
    assert [duration(s) for s in (0.2, 59.4, 200, 18_600)] == ["0 s", "59 s", "3 min 20 s", "5 h 10 min"]
