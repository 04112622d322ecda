"""What the server's API and its engines say to each other: a prompt goes in, tokens come out one by one.

An engine runs in threads or processes of its own. `Engine.submit` returns at once; what happens to a request is told to
its `deliver`, in order, from the engine's thread: any number of `Token`, then exactly one `End`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from qwenvl.serve.engine import Generation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qwenvl.text.render import Example

Reason = Literal["stop", "length", "cancelled", "timeout", "error"]
"""Why a request ended: an id that ends answers, no room left, by whoever asked, too late, or a fault of the engine."""


class Constraint(Protocol):
    """Which tokens may come next, for answers of a given form. It belongs to one request."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The form as a JSON schema, for engines that follow it by themselves."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): True for each id that may come next, those that end an answer among them."""
        ...

    def accept(self, token: int) -> None:
        """An id was chosen."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to answer. `example` ends where the answer begins; its pictures are decoded already.

    `client` is whom the engine is to be fair to. `logprobs` asks for that many likeliest tokens beside the chosen one
    (0: the chosen one's alone; None: no log-probabilities).
    """

    example: Example
    options: Generation
    client: str = ""
    logprobs: int | None = None
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One id of the answer; never one of those that end it. Log-probabilities are natural, before temperature."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows. `cached` counts the prompt's tokens that were not computed anew; `message` is for an error."""

    reason: Reason
    cached: int = 0
    message: str = ""


class QueueFull(Exception):
    """No room for another waiting request; `retry_after` in seconds is when to try again."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests are waiting; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine takes. `context` bounds prompt and answer together, in tokens; `running` and `waiting` requests.

    `memory` in bytes is what its caches may take beside the weights, known before it starts.
    """

    context: int
    running: int
    waiting: int
    memory: int


def room_for(request: Request, context: int) -> int:
    """The tokens that an answer may have beside its prompt. Raises ValueError where there are none."""
    prompt = request.example.ids
    room = context - len(prompt)
    if not prompt or room < 1:
        raise ValueError(
            f"the prompt takes {len(prompt)} tokens, and this model has room for {context - 1} beside an answer: ask "
            "less or show fewer pictures"
        )
    return room


class Handle(Protocol):
    """A submitted request."""

    def cancel(self) -> None:
        """Give its place to others; its `End` says "cancelled". Nothing happens when it has ended already."""
        ...


class Engine(Protocol):
    """What answers requests. All methods may be called from any thread."""

    @property
    def limits(self) -> Limits:
        """What it takes."""
        ...

    def submit(self, request: Request, deliver: Callable[[Token | End], None]) -> Handle:
        """Queue a request. Raises `QueueFull`, and ValueError for a prompt that leaves no room for an answer."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Counters and gauges for the metrics page, by name, such as `running`, `waiting`, `image_cache_hits_total`."""
        ...

    def close(self, grace: float = 0.0) -> None:
        """Take no more requests, give those at work `grace` seconds, then end the rest as cancelled."""
        ...
