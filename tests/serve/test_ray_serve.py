"""The server on Ray: what an application is asked for, and a real one on this machine, streams included."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for package in ("fastapi", "prometheus_client"):
    pytest.importorskip(package)
httpx = pytest.importorskip("httpx")
pytest.importorskip("ray")
pytest.importorskip("ray.serve")

from qwenvl.data.synth.scenes import scene_record  # noqa: E402
from qwenvl.sample import Text, Turn  # noqa: E402
from qwenvl.serve import Generation, generate, load  # noqa: E402
from qwenvl.serve.api_server import listen  # noqa: E402
from qwenvl.serve.ray_serve import QUEUED, SPARE, app  # noqa: E402
from qwenvl.text.chatml import dialogue_sample  # noqa: E402
from qwenvl.text.render import render  # noqa: E402
from qwenvl.typed import ConfigError  # noqa: E402
from tests.serve.api_server import part, until, uri, user  # noqa: E402

ROOT = Path(__file__).parents[2]
NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 500}
LONG = {
    "prompt": "the",
    "max_tokens": 1000,
    "response_format": {"type": "json_schema", "json_schema": {"name": "numbers", "schema": NUMBERS}},
}
"""An answer that a small model would rather not give: it takes a second or more."""


def test_an_application_as_it_is_asked_for() -> None:
    deployment = app({"model": "nano", "running": "3", "waiting": 5, "replicas": 2, "most": "6"})._bound_deployment
    assert deployment.max_ongoing_requests == 3 + 5 + SPARE and deployment.max_queued_requests == QUEUED
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 6, 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"modle": "nano"}, "did you mean 'model'"),
        ({"running": "many"}, r"args\.running: expected int"),
        ({"running": 0}, "running=0"),
        ({"replicas": 3, "most": 2}, "most=2"),
        ({"engine": "magic"}, r"args\.engine: 'magic'"),
    ],
)
def test_what_it_can_not_be_asked_for(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        app(arguments)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"qwenvl\[ray-serve\]"):
        app({})


def test_the_example_asks_for_what_there_is() -> None:
    import yaml

    written = yaml.safe_load((ROOT / "examples/serve/ray.yaml").read_text())
    (application,) = written["applications"]
    assert application["import_path"] == "qwenvl.serve.ray_serve:app"
    app(application["args"])
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(written)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    import ray
    from ray import serve

    with listen("127.0.0.1", 0) as found:
        port = found.getsockname()[1]
    variables = {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"model": "nano", "running": 2, "waiting": 2, "most": 1, "cpus": 0.5}), route_prefix="/")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.mark.slow
def test_a_picture_and_a_stream_through_ray(url: str) -> None:
    picture = scene_record(0, 0, "test", 96).images[0]
    question = "框出图中的所有物体"
    loaded = load("nano")
    sample = dialogue_sample([Turn("user", (picture, Text(question)))], reply=True)
    example = render(sample, loaded.tokenizer, loaded.model.config.num_queries)
    expected = loaded.tokenizer.decode(generate(loaded.model, loaded.tokenizer, [example], Generation())[0])
    body = {"messages": user(part(uri(picture.pil())), question), "model": "nano"}
    assert httpx.get(url + "/ready").json()["status"] == "ready"
    whole = httpx.post(url + "/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]
    assert whole["content"] == expected and whole["regions"]
    pieces, arrived = [], 0
    with httpx.stream("POST", url + "/v1/chat/completions", json={**body, "stream": True}, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                pieces.append(json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", ""))
                arrived += 1
    assert "".join(pieces) == expected and arrived > 10
    assert httpx.post(url + "/v1/chat/completions", json={**body, "model": "other"}).status_code == 404


@pytest.mark.slow
def test_a_stream_comes_as_it_is_made_and_who_leaves_frees_the_place(url: str) -> None:
    pytest.importorskip("llguidance")
    with httpx.stream("POST", url + "/v1/completions", json={**LONG, "stream": True}, timeout=60) as answer:
        pieces = answer.iter_text()  # kept: without it httpx closes the connection
        next(pieces)
        # the first piece is here, and the replica still works on the rest
        until(lambda: "qwenvl_engine_running 1.0" in httpx.get(url + "/metrics").text)
    until(lambda: "qwenvl_engine_running 0.0" in httpx.get(url + "/metrics").text)


@pytest.mark.slow
def test_a_full_replica_says_so_itself(url: str) -> None:
    pytest.importorskip("llguidance")
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(httpx.post(url + "/v1/completions", json=LONG, timeout=60)))
        for _ in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = Counter(answer.status_code for answer in found)
    assert set(counted) == {200, 429} and counted[200] >= 4, counted
    refused = next(answer for answer in found if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "queue_full" and int(refused.headers["retry-after"]) >= 1
