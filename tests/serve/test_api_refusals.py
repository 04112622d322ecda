"""What the API refuses, each with its status and the field's name, on a live server."""

from __future__ import annotations

import io
import logging
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package)
from qwenvl.serve.api import Served, ServeSettings  # noqa: E402
from qwenvl.serve.api_server import AddressError, listen  # noqa: E402
from qwenvl.text.tokenizer import QwenTokenizer  # noqa: E402
from tests.serve.api_server import Live, ScriptedEngine, live, part, until, uri, user  # noqa: E402

RED = PILImage.new("RGB", (20, 10), "red")
KEY = "s3cret-key"
SETTINGS = ServeSettings(
    page=False,
    max_body=200_000,
    max_bodies=500_000,
    max_images=2,
    max_image_bytes=50_000,
    max_pixels=10_000,
    max_prompt_characters=5_000,
    max_tokens=64,
    read_seconds=0.5,
    header_seconds=0.5,
    request_seconds=1.0,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> QwenTokenizer:
    return QwenTokenizer.load(tiny_folder)


@pytest.fixture(scope="module")
def running(tokenizer: QwenTokenizer) -> Iterator[tuple[Live, ScriptedEngine]]:
    engine = ScriptedEngine(tokenizer)
    with live(lambda: Served("tiny", tokenizer, 4, 32, engine), SETTINGS) as server:
        yield server, engine


@pytest.fixture
def engine(running: tuple[Live, ScriptedEngine]) -> ScriptedEngine:
    engine = running[1]
    engine.__init__(engine.tokenizer)  # type: ignore[misc]
    return engine


@pytest.fixture
def server(running: tuple[Live, ScriptedEngine], engine: ScriptedEngine) -> Live:
    return running[0]


def refused(server: Live, status: int, body: dict[str, Any], path: str = "chat/completions") -> dict[str, Any]:
    found = httpx.post(f"{server.url}/v1/{path}", json=body)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"tools": []}, "tools", "unsupported_field"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", "invalid_value"),
        ({"messages": user({"type": "text"})}, "messages[0].content[0].text", "missing_field"),
        ({"messages": user({"type": "input_audio"})}, "messages[0].content[0]", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x", "name": "Bob"}]}, "messages[0].name", "unsupported_field"),
        ({"messages": [*user("x"), {"role": "assistant", "content": "y"}]}, "messages", "invalid_value"),
        ({"messages": [*user("x"), {"role": "system", "content": "y"}, *user("z")]}, "messages[1]", "invalid_value"),
        ({"messages": user({"type": "region", "box": [0, 0, 1, 1]})}, "messages[0].content[0]", "invalid_value"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 9}, "n", "invalid_value"),
        ({"max_tokens": 65}, "max_tokens", "invalid_value"),
        ({"max_tokens": "many"}, "max_tokens", "invalid_value"),
        ({"top_logprobs": 3}, None, "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, None, "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format", "invalid_value"),
        ({"messages": user("x " * 600)}, "messages", "context_length_exceeded"),
    ],
)
def test_a_wrong_field_is_named(server: Live, body: dict[str, Any], param: str | None, code: str) -> None:
    error = refused(server, 400, {"messages": user("?"), **body})
    assert (error["param"], error["code"]) == (param, code)


def test_a_schema_that_can_not_be_followed(server: Live) -> None:
    pytest.importorskip("llguidance")
    for schema in ({"type": "nonsense"}, {"$ref": "https://example.org/schema.json"}):
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        assert refused(server, 400, {"messages": user("?"), "response_format": wanted})["code"] == "invalid_schema"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"task": "vqa", "images": [uri(RED)]}, "prompt"),
        ({"task": "caption", "images": [uri(RED)], "prompt": "x"}, "prompt"),
        ({"task": "caption"}, "images"),
        ({"task": "grounded_caption", "images": [uri(RED)]}, "box"),
        ({"prompt": "x", "box": [0, 0, 1, 1]}, "box"),
        ({}, "prompt"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": ["one", "two"]}, "prompt[0]"),
    ],
)
def test_a_task_prompt_that_lacks_something(server: Live, body: dict[str, Any], param: str) -> None:
    assert refused(server, 400, body, "completions")["param"] == param


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1:1/x.png",
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/cat.png",
        "ftp://example.org/x",
        "../../secret.png",
        "DATABASE",
    ],
)
def test_nothing_that_a_message_names_is_opened(server: Live, engine: ScriptedEngine, address: str) -> None:
    error = refused(server, 400, {"messages": user(part(address))})
    assert error["code"] == "image_not_allowed" and error["param"] == "messages[0].content[0].image_url.url"
    assert "passwd" not in error["message"]
    assert refused(server, 400, {"prompt": "x", "images": [address]}, "completions")["param"] == "images[0]"
    assert not engine.asked


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_are_limited_before_they_are_decoded(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert refused(server, 413, {"messages": user(part(uri(bomb(13_000, 13_000))))})["code"] == "image_too_large"
    assert refused(server, 413, {"messages": user(part(uri(b"x" * 60_000)))})["code"] == "image_too_large"
    three = user(*[part(uri(RED))] * 3)
    assert refused(server, 413, {"messages": three})["code"] == "too_many_images"


def test_what_is_no_picture(server: Live) -> None:
    buffer = io.BytesIO()
    PILImage.effect_noise((60, 60), 90).save(buffer, "PNG")
    for data in (b"hello", buffer.getvalue()[:-900], b"<svg/>"):
        error = refused(server, 422, {"messages": user("a", part(uri(data)))})
        assert error["param"] == "messages[0].content[1].image_url.url"
    assert refused(server, 422, {"messages": user(part("data:image/png;base64,???"))})


def test_sizes(server: Live) -> None:
    assert refused(server, 413, {"messages": user("x" * 6_000)})["code"] == "prompt_too_long"
    assert refused(server, 413, {"messages": user("x" * 300_000)})["code"] == "body_too_large"

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    found = httpx.post(server.url + "/v1/completions", content=chunks(), headers={"Content-Type": "application/json"})
    assert found.status_code == 413


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "application/json", 400),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "application/json", 400),
        (b"{}", "text/plain", 415),
    ],
)
def test_bodies_that_are_not_json(server: Live, content: bytes, kind: str, status: int) -> None:
    found = httpx.post(server.url + "/v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert found.status_code == status, found.text
    assert found.json()["error"]["message"]


def test_other_models_paths_and_methods(server: Live) -> None:
    assert refused(server, 404, {"messages": user("?"), "model": "gpt-4"})["code"] == "model_not_found"
    assert httpx.get(server.url + "/v1/models/gpt-4").status_code == 404
    assert httpx.get(server.url + "/v1/nothing").json()["error"]["code"] == "not_found"
    assert httpx.get(server.url + "/v1/chat/completions").status_code == 405


def test_a_full_queue(server: Live, engine: ScriptedEngine) -> None:
    engine.gate.clear()
    found: list[int] = []
    asking = [
        threading.Thread(
            target=lambda: found.append(
                httpx.post(server.url + "/v1/chat/completions", json={"messages": user("?")}).status_code
            )
        )
        for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    until(lambda: engine.at_work == 4)
    late = httpx.post(server.url + "/v1/chat/completions", json={"messages": user("?")})
    assert (late.status_code, late.headers["retry-after"]) == (429, "7")
    engine.gate.set()
    for thread in asking:
        thread.join()
    assert found == [200] * 4
    # several choices are taken together or not at all
    engine.gate.clear()
    refused(server, 429, {"messages": user("?"), "n": 6})
    until(lambda: engine.at_work == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_place(server: Live, engine: ScriptedEngine, stream: bool) -> None:
    engine.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            server.url + "/v1/chat/completions", json={"messages": user("?"), "stream": stream, "n": 2}, timeout=0.2
        )
    assert engine.cancelled.wait(5)
    until(lambda: engine.at_work == 0)


def test_an_answer_that_takes_too_long(server: Live, engine: ScriptedEngine) -> None:
    engine.gate.clear()
    assert refused(server, 504, {"messages": user("?")})["code"] == "timeout"
    until(lambda: engine.at_work == 0)


def test_slow_heads_and_slow_bodies_are_cut_off(server: Live) -> None:
    with server.connect() as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost:")
        assert slow.recv(100) == b""
    with server.connect() as silent:
        assert silent.recv(100) == b""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with server.connect() as slow:
        slow.sendall(head)
        assert b" 408 " in slow.recv(1000)
    with server.connect() as gone:
        gone.sendall(head)
    assert httpx.get(server.url + "/health").status_code == 200


def test_keys_names_and_pages_of_others(tokenizer: QwenTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    settings = ServeSettings(page=False, key=KEY, hosts=("127.0.0.1",), origins=("https://ours.example",))
    engine = ScriptedEngine(tokenizer)
    caplog.set_level(logging.DEBUG)
    with live(lambda: Served("tiny", tokenizer, 4, 32, engine), settings) as server:
        for given in (None, "Bearer wrong", "Basic " + KEY, "Bearer", "Bearer " + KEY + "x"):
            headers = {} if given is None else {"Authorization": given}
            for path in ("/v1/models", "/metrics"):
                found = httpx.get(server.url + path, headers=headers)
                assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
                assert KEY not in found.text
        right = {"Authorization": "Bearer " + KEY}
        body = {"messages": user(part(uri(RED)), "a private question")}
        assert httpx.post(server.url + "/v1/chat/completions", json=body, headers=right).status_code == 200
        assert httpx.get(server.url + "/health").status_code == 200
        assert httpx.get(server.url + "/v1/models", headers={**right, "Host": "evil.example"}).status_code == 400
        for origin, allowed in (("https://ours.example", True), ("https://evil.example", False)):
            found = httpx.get(server.url + "/v1/models", headers={**right, "Origin": origin})
            assert ("access-control-allow-origin" in found.headers) is allowed
    assert engine.closed
    assert KEY not in caplog.text and "private" not in caplog.text and "base64" not in caplog.text


def test_closed_to_other_pages_by_default(server: Live) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(server.url + "/v1/chat/completions", headers=headers).status_code == 405
    assert "access-control-allow-origin" not in httpx.get(server.url + "/v1/models", headers=headers).headers


def test_while_the_model_loads_and_when_it_can_not(tokenizer: QwenTokenizer) -> None:
    go_on = threading.Event()

    def load() -> Served:
        go_on.wait(10)
        raise ValueError("no weights in /secret/folder")

    with live(load, ServeSettings(page=False), wait=False) as server:
        assert httpx.get(server.url + "/health").status_code == 200
        found = httpx.get(server.url + "/ready")
        assert (found.status_code, found.headers["retry-after"]) == (503, "2")
        assert refused(server, 503, {"messages": user("?")})["code"] == "loading"
        go_on.set()
        until(lambda: server.app.state.server.failed is not None)
        assert refused(server, 503, {"messages": user("?")})["code"] == "failed"
        assert "/secret" not in httpx.get(server.url + "/ready").text


def test_an_engine_that_died_is_not_ready(tokenizer: QwenTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(tokenizer)
    with live(lambda: Served("tiny", tokenizer, 4, 32, engine), ServeSettings(page=False)) as server:
        assert httpx.get(server.url + "/ready").status_code == 200
        monkeypatch.setattr(engine, "figures", lambda: {"broken": 1.0})
        found = httpx.get(server.url + "/ready")
        assert (found.status_code, found.json()["error"]["code"]) == (503, "failed")
        assert httpx.get(server.url + "/health").status_code == 200


def test_stopping_lets_what_runs_finish(tokenizer: QwenTokenizer) -> None:
    engine = ScriptedEngine(tokenizer)
    engine.gate.clear()
    found: list[Any] = []
    with live(lambda: Served("tiny", tokenizer, 4, 32, engine), ServeSettings(page=False)) as server:
        body = {"messages": user("?")}
        asking = threading.Thread(
            target=lambda: found.append(httpx.post(server.url + "/v1/chat/completions", json=body))
        )
        asking.start()
        until(lambda: engine.at_work == 1)
        server.server.should_exit = True
        time.sleep(0.3)
        assert not found and not engine.closed
        engine.gate.set()
        asking.join(10)
    assert found[0].status_code == 200
    assert engine.closed


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(AddressError, match="--port"):
            listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(AddressError, match="can not listen"):
        listen("192.0.2.1", 0)
