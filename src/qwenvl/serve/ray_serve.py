"""The server on many machines: replicas of it behind Ray Serve, as many as the requests of the moment need.

    serve run qwenvl.serve.ray_serve:app model=nano
    serve deploy examples/serve/ray.yaml

A replica loads its model before it counts as there, and answers 429 by itself when its own queue is full: Ray hands it
a few requests more than it has places, so that a refusal has OpenAI's form and a Retry-After. Behind Ray's proxy all
clients come from one address: fairness is among the `user` fields of their requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from fastapi import FastAPI

SPARE = 8
"""Requests above its places that reach a replica at once, to be refused there."""


class Deployment(BaseModel):
    """What a deployment is made of: the arguments of `app`, by name. The key, if any, is QWENVL_API_KEY."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field("nano", description="a folder that every machine has, or a name on the Hub")
    name: str | None = Field(None, description="what clients call it")
    engine: Literal["own", "vllm"] = "own"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    running: int = Field(16, ge=1, description="requests that a replica answers at a time")
    waiting: int = Field(64, ge=1, description="requests that may wait in a replica")
    max_images: int = Field(16, ge=1, description="of one request")
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(4, ge=1)
    cpus: float = Field(1.0, ge=0, description="of a replica")
    gpus: float = Field(0.0, ge=0, description="of a replica")


def app(given: Mapping[str, Any]) -> Any:
    """The application that `serve run` and `serve deploy` start, from the arguments of a `Deployment`.

    Raises ModuleNotFoundError without Ray, and pydantic's ValidationError, naming it, for an argument that is wrong.
    """
    arguments = Deployment.model_validate(given)
    try:
        from ray import serve
    except ModuleNotFoundError:
        raise ModuleNotFoundError('Ray Serve is missing: pip install "qwenvl[ray-serve]"') from None

    def build() -> FastAPI:
        return application(arguments)

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="qwenvl",
        max_ongoing_requests=arguments.running + arguments.waiting + SPARE,
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": max(arguments.min_replicas, arguments.max_replicas),
            # a new machine is asked for when the places of one are nearly taken, before anybody waits long
            "target_ongoing_requests": max(1, round(0.75 * arguments.running)),
        },
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
        graceful_shutdown_timeout_s=40,
    )
    return deployment.bind()


def application(arguments: Deployment) -> FastAPI:
    """One replica: the model is loaded when this returns. Raises ModelError for a folder that is no checkpoint."""
    from qwenvl.serve.api import ServeSettings, create_app
    from qwenvl.serve.starting import name_of, own, with_vllm

    settings = ServeSettings(key=os.environ.get("QWENVL_API_KEY") or None, max_images=arguments.max_images)
    name = arguments.name or name_of(arguments.model)
    places = {"running": arguments.running, "waiting": arguments.waiting}
    if arguments.engine == "vllm":
        served = with_vllm(arguments.model, name, arguments.dtype, {**places, "pictures": arguments.max_images})
    else:
        served = own(arguments.model, name, arguments.device, arguments.dtype, places)
    return create_app(lambda: served, settings)
