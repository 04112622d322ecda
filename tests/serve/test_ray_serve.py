"""The server behind Ray Serve on this machine: replicas of the packaged model answer, streams pass through."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as PILImage

httpx = pytest.importorskip("httpx")
pydantic = pytest.importorskip("pydantic")
pytest.importorskip("fastapi")
from qwenvl.serve.ray_serve import Deployment, app  # noqa: E402
from tests.serve.api_server import uri, user  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve" / "ray.yaml"


def test_the_examples_arguments_are_those_of_a_deployment() -> None:
    (application,) = yaml.safe_load(EXAMPLE.read_text())["applications"]
    Deployment(**application["args"])
    module, _, builder = application["import_path"].partition(":")
    assert (module, builder) == (app.__module__, app.__name__)


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(pydantic.ValidationError, match="replicas"):
        app({"model": "nano", "replicas": "2"})


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    port = free_port()
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"min_replicas": "2", "max_replicas": "2"}), name="qwenvl", route_prefix="/")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.mark.slow
def test_replicas_answer_and_stream(url: str) -> None:
    shown = {"type": "image_url", "image_url": {"url": uri(PILImage.new("RGB", (96, 96), "red"))}}
    body: dict[str, Any] = {"messages": user(shown, "框出图中的所有物体"), "max_tokens": 24}
    whole = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]
    pieces = []
    with httpx.stream("POST", f"{url}/v1/chat/completions", json={**body, "stream": True}, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                pieces.append(json.loads(line[6:])["choices"][0]["delta"].get("content", ""))
    assert len(pieces) > 3
    assert "".join(pieces) == whole["content"] != ""
    refused = httpx.post(f"{url}/v1/chat/completions", json={**body, "tools": []}, timeout=60)
    assert refused.status_code == 400 and "tools" in refused.json()["error"]["message"]
    assert httpx.get(f"{url}/ready", timeout=60).json()["status"] == "ready"
