"""Units of work, done in any order by any number of workers: retries, a cap on failures, progress, going on later.

A unit is something that can be pickled; `work` does it and leaves what it made on the disk, whole or not at all, with a
mark last; `done` looks for the mark. So a run that was killed at any moment is continued by the same call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from qwenvl.data.engine.crew import Crew
from qwenvl.data.engine.errors import EngineError, Interrupted, ends_run, told
from qwenvl.data.engine.on_ray import RayCrew
from qwenvl.data.engine.pool import Pool, cores
from qwenvl.data.engine.progress import Progress

T = TypeVar("T")

Engine = Literal["pool", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

_SHOWN = 5
_TICK = 0.25


@dataclass(frozen=True, slots=True)
class Failure(Generic[T]):
    """A unit that was given up: `why` is the last attempt's error."""

    unit: T
    why: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a run did: units done now and found done `before`, the sum of what `work` counted, and what failed."""

    done: int
    before: int
    amount: int
    failed: tuple[Failure[T], ...]

    def check(self, name: Callable[[T], str]) -> None:
        """Raise EngineError that lists the failed units, if there are any; `name` says what a unit is called."""
        if not self.failed:
            return
        units = self.done + self.before + len(self.failed)
        lines = [f"{len(self.failed):,} of {units:,} units failed; the others are done:"]
        lines += [f"  {name(f.unit)}: {f.why} ({f.attempts} attempts)" for f in self.failed[:_SHOWN]]
        lines += [f"  … and {len(self.failed) - _SHOWN:,} more"] if len(self.failed) > _SHOWN else []
        raise EngineError("\n".join([*lines, "Mend what is named, then run the same command again: it goes on there."]))


def run(
    units: Sequence[T],
    work: Callable[[T], int | None],
    done: Callable[[T], bool],
    *,
    engine: Engine = "pool",
    workers: int | None = None,
    retries: int = 2,
    max_failures: int = 10,
    quiet: bool = False,
    title: str = "working",
    noun: str = "rows",
    address: str | None = None,
) -> Outcome[T]:
    """Do the units that are not done yet.

    `work` is called with a unit in another process (so it is a module's function, a partial of one, or an instance of a
    module's class) and may give how much it did, for the speed. It may be called twice for a unit, and killed in
    between. `workers` is the number of processes (default: the cores), or with engine "ray" of units under way;
    `address` is the Ray cluster's.

    A unit that fails (an error, or its process dies) is tried `retries` times more, after the others; then it is listed
    in the outcome. Raises EngineError after the first attempts at `max_failures` units in a row failed, Interrupted
    after Ctrl-C, and what `ends_run` tells (a full disk, StopRun) as it is. In all cases what is done stays done.
    """
    waiting = deque((number, 1) for number, unit in enumerate(units) if not done(unit))
    progress = Progress(title, len(units), len(units) - len(waiting), noun, quiet)
    if not waiting:
        return Outcome(0, len(units), 0, ())
    before = len(units) - len(waiting)
    crew = _crew(work, engine, min(workers or cores(), len(waiting)) if engine == "pool" else workers, address)
    finished = False
    try:
        failed = _loop(units, done, crew, waiting, progress, retries, max_failures)
        finished = True
    except KeyboardInterrupt:
        at = before + progress.done
        raise Interrupted(
            f"stopped after {at:,} of {len(units):,} units; run the same command again and it goes on there"
        ) from None
    finally:
        crew.close(at_once=not finished)
        progress.end()
    return Outcome(progress.done, before, progress.amount, tuple(failed))


def _crew(work: Callable[[T], int | None], engine: str, workers: int | None, address: str | None) -> Crew[T]:
    if engine == "ray":
        return RayCrew(work, workers, address)
    return Pool(work, workers or cores())


def _loop(
    units: Sequence[T],
    done: Callable[[T], bool],
    crew: Crew[T],
    waiting: deque[tuple[int, int]],
    progress: Progress,
    retries: int,
    max_failures: int,
) -> list[Failure[T]]:
    attempts: dict[int, int] = {}
    failed: list[Failure[T]] = []
    in_a_row = 0
    while waiting or attempts:
        while waiting and len(attempts) < crew.size:
            number, attempt = waiting.popleft()
            crew.give(number, units[number])
            attempts[number] = attempt
        for number, result in crew.wait(_TICK):
            attempt = attempts.pop(number)
            if done(units[number]):
                # a worker may die between its mark and its report
                progress.step(0 if isinstance(result, Exception) else result)
                in_a_row = 0
                continue
            if not isinstance(result, Exception):
                result = RuntimeError(
                    "it ended well, but what it made is not to be seen here: do all machines share it?"
                )
            if ends_run(result):
                raise result
            # further attempts come when all else is done, one behind the other
            in_a_row += attempt == 1
            if in_a_row >= max_failures:
                raise _given_up(in_a_row, units[number], result)
            if attempt > retries:
                failed.append(Failure(units[number], told(result), attempt))
            else:
                waiting.append((number, attempt + 1))
        progress.show()
    return failed


def _given_up(count: int, unit: Any, error: Exception) -> EngineError:
    name = getattr(unit, "path", None) or str(unit)[:200]
    return EngineError(
        f"{count} units in a row failed, so the run stops; the last one, {name}: {told(error)}\n"
        "What is done is kept. Mend the cause, then run the same command again: it goes on there."
    )
