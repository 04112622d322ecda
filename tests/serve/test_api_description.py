"""The API against its own OpenAPI description, with requests that schemathesis makes up, well-formed and not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from qwenvl.text.tokenizer import QwenTokenizer

schemathesis = pytest.importorskip("schemathesis")
for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package)
from schemathesis import GenerationMode, checks  # noqa: E402
from schemathesis.specs.openapi import checks as described  # noqa: E402

from qwenvl.serve.api import Served, ServeSettings  # noqa: E402
from tests.serve.api_server import Live, ScriptedEngine, live  # noqa: E402

EXAMPLES = {"/v1/chat/completions": 5, "/v1/completions": 15, "/v1/models/{name}": 5, "/ready": 1}

CHECKS = [
    checks.not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_schema_conformance,
    described.negative_data_rejection,
]


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[Live]:
    tokenizer = QwenTokenizer.load(tiny_folder)
    engine = ScriptedEngine(tokenizer, waiting=64)
    with live(lambda: Served("tiny", tokenizer, 4, 32, engine), ServeSettings(page=False)) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/v1/chat/completions", "POST", GenerationMode.POSITIVE),
        ("/v1/chat/completions", "POST", GenerationMode.NEGATIVE),
        ("/v1/completions", "POST", GenerationMode.POSITIVE),
        ("/v1/completions", "POST", GenerationMode.NEGATIVE),
        ("/v1/models/{name}", "GET", GenerationMode.POSITIVE),
        ("/ready", "GET", GenerationMode.POSITIVE),
    ],
)
def test_every_answer_is_as_described(server: Live, path: str, method: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
    operation = schema[path][method]

    @seed(1)
    @settings(
        max_examples=EXAMPLES[path],
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: object) -> None:
        case.call_and_validate(checks=CHECKS)  # type: ignore[attr-defined]

    check()
