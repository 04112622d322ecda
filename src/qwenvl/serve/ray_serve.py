"""Our server on many machines: a Ray Serve application whose replicas come and go with the load.

    serve run qwenvl.serve.ray_serve:app model=nano replicas=1 most=4

Each replica is a whole server with a model of its own; Ray's proxy gives it requests and passes its answers on as they
come. Two gates must agree on when it is full:

* A replica answers `running` requests at a time and lets `waiting` more wait; to the next it says 429 with Retry-After,
  in OpenAI's form.
* Ray gives a replica `max_ongoing_requests`. That is `SPARE` more than it takes, so that the 429 comes from the
  replica, and `/health` is answered when it is full. A refusal takes milliseconds, so what waits at the proxy is a
  burst; `max_queued_requests` bounds it to `QUEUED`, and beyond them Ray itself says 503.

A request that waits in a replica can't move to a new one, so `waiting` is small here, and another replica is asked for
when more than `running` requests are with each (`target_ongoing_requests`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qwenvl.serve.starting import default_model, name_of, own, with_vllm
from qwenvl.typed import ConfigError, from_dict, override

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

SPARE = 16
"""Requests that a full replica is given beyond what it takes, to refuse them."""

QUEUED = 128
"""Requests that wait at a proxy for a replica that is not given enough yet."""


@dataclass(frozen=True)
class Deployment:
    """What is served, and by how many.

    `model`, `name`, `engine`, `device`, `dtype`, `running` and `waiting` mean what they mean for `qwenvl serve`. There
    are `replicas` at least and `most` at most, each of which gets `cpus` and `gpus`.
    """

    model: str | None = None
    name: str | None = None
    engine: Literal["own", "vllm"] = "own"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    running: int = 16
    waiting: int = 16
    replicas: int = 1
    most: int = 4
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if min(self.running, self.waiting) < 1:
            raise ConfigError(f"running={self.running} and waiting={self.waiting} must be 1 at least")
        if not 0 < self.replicas <= self.most:
            raise ConfigError(f"replicas={self.replicas} must be 1 at least, and most={self.most} not less")


def app(arguments: Mapping[str, Any]) -> Application:
    """The application, from the `args` of a config file or the `key=value` of `serve run`: fields of `Deployment`.

    Clients must send the key that stands in the replicas' variable QWENVL_API_KEY, where there is one. Raises
    ConfigError, naming the field, and ImportError without Ray Serve.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise ImportError('this needs Ray Serve: pip install "qwenvl[ray-serve]"') from error

    from qwenvl.serve.api_settings import ServeSettings

    wanted = _read(arguments)

    def build() -> FastAPI:
        return _server(wanted)

    deployment = serve.deployment(
        serve.ingress(build)(_Replica),
        name="qwenvl",
        ray_actor_options={"num_cpus": wanted.cpus, "num_gpus": wanted.gpus},
        max_ongoing_requests=wanted.running + wanted.waiting + SPARE,
        max_queued_requests=QUEUED,
        autoscaling_config={
            "min_replicas": wanted.replicas,
            "max_replicas": wanted.most,
            "target_ongoing_requests": wanted.running,
        },
        graceful_shutdown_timeout_s=ServeSettings().grace_seconds,
        logging_config={"enable_access_log": False},
    )
    return deployment.bind()


class _Replica:
    app: FastAPI
    """Of Ray's class, of which this becomes a base."""

    def check_health(self) -> None:
        """Called by Ray, which replaces the replica when it raises."""
        if self.app.state.server.loaded.served.engine.figures().get("broken"):
            raise RuntimeError("the engine has died")


def _read(arguments: Mapping[str, Any]) -> Deployment:
    fields: dict[str, Any] = {}
    for key, value in arguments.items():
        if isinstance(value, str):
            override(fields, f"{key}={value}")  # the command line knows texts only
        else:
            fields[key] = value
    return from_dict(Deployment, fields, "args")


def _server(wanted: Deployment) -> FastAPI:
    """A replica's application, its model loaded: before that Ray must send it nothing."""
    from qwenvl.cli.serve import KEY_VARIABLE
    from qwenvl.serve.api import ServeSettings, create_app

    model = wanted.model or default_model()
    name = wanted.name or name_of(model)
    limits = {"running": wanted.running, "waiting": wanted.waiting}
    if wanted.engine == "vllm":
        served = with_vllm(model, name, wanted.dtype, limits)
    else:
        served = own(model, name, wanted.device, wanted.dtype, limits)
    made = create_app(lambda: served, ServeSettings(key=os.environ.get(KEY_VARIABLE) or None))
    made.state.server.load()
    return made
