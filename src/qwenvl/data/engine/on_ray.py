"""Workers of a Ray cluster: the same units, one to a core, wherever there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from qwenvl.data.engine.crew import Report
from qwenvl.data.engine.errors import WorkerDied, portable, told

T = TypeVar("T")

_AHEAD = 2
"""Units given for each core: the next one waits where the last one ends."""


class RayCrew(Generic[T]):
    """The cores of a cluster; `address` is Ray's ("auto", "host:port", "ray://…"), None starts one on this machine.

    The nodes must have this package, the work's modules and the same paths: units are read and written by them.
    """

    def __init__(self, work: Callable[[T], int | None], workers: int | None, address: str | None) -> None:
        self._ray = _ray()
        self._mine = not self._ray.is_initialized()
        if self._mine:
            start: dict[str, Any] = (
                {"address": address} if address else {"num_cpus": workers, "include_dashboard": False}
            )
            self._ray.init(log_to_driver=False, logging_level="warning", **start)
        self._most = workers
        # a unit is tried again by the run, which counts
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_do)
        self._work = self._ray.put(work)
        self._under_way: dict[Any, int] = {}

    @property
    def size(self) -> int:
        """Twice the cores that the cluster has now."""
        cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return min(cores * _AHEAD, self._most or cores * _AHEAD)

    def give(self, number: int, unit: T) -> None:
        """Start a unit, or let it wait for a core."""
        self._under_way[self._task.remote(self._work, unit)] = number

    def wait(self, seconds: float) -> list[Report]:
        """What ended, after at most so long."""
        references = list(self._under_way)
        if not self._ray.wait(references, timeout=seconds)[0]:
            return []
        ended, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return [Report(self._under_way.pop(reference), self._result(reference)) for reference in ended]

    def close(self, at_once: bool) -> None:
        """Cancel what is under way; a cluster that was started here ends."""
        if at_once:
            for reference in self._under_way:
                self._ray.cancel(reference, force=True)
        if self._mine:
            self._ray.shutdown()

    def _result(self, reference: Any) -> int | Exception:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            return WorkerDied(f"Ray: {type(error).__name__}: {lines[0] if lines else ''}")
        except Exception as error:
            return RuntimeError(told(error))


def _do(work: Callable[[Any], int | None], unit: Any) -> int | Exception:
    """What a node runs. Ray would wrap an error; given as a value it comes as it is."""
    try:
        return work(unit) or 0
    except Exception as error:
        return portable(error)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError("the engine ray needs Ray: pip install 'qwenvl[ray]'") from error
    return ray
