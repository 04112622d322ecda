"""How steps over many units of work run: on the cores of one machine, or on a Ray cluster."""

from qwenvl.data.engine.errors import EngineError, Interrupted, StopRun
from qwenvl.data.engine.pool import warm_up
from qwenvl.data.engine.run import ENGINES, Failure, Outcome, run

__all__ = ["ENGINES", "EngineError", "Failure", "Interrupted", "Outcome", "StopRun", "run", "warm_up"]
