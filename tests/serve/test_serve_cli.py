"""`qwenvl serve`: what it prints, how it ends, and its errors."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from qwenvl.cli import main
from qwenvl.text.tokenizer import QwenTokenizer

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package)
from qwenvl.serve import starting  # noqa: E402
from qwenvl.serve.api import Served  # noqa: E402
from qwenvl.serve.api_server import listen  # noqa: E402
from tests.serve.api_server import ScriptedEngine, until, user  # noqa: E402


def free() -> int:
    with listen("127.0.0.1", 0) as found:
        return int(found.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tokenizer = QwenTokenizer.load(tiny_folder)
    engine = ScriptedEngine(tokenizer)
    asked: list[Any] = []
    opened: list[str] = []

    def own(model: str, name: str, *rest: Any) -> Served:
        asked.append((model, name, *rest))
        return Served(name, tokenizer, 4, 32, engine)

    monkeypatch.setattr(starting, "own", own)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("QWENVL_API_KEY", "k3y")
    port = free()
    url = f"http://127.0.0.1:{port}"
    found: list[int] = []

    def ask() -> None:
        try:
            until(lambda: bool(opened))
            for key in ("k3y", "other"):
                headers = {"Authorization": f"Bearer {key}"}
                body = {"messages": user("?"), "model": tiny_folder.parent.name}
                found.append(httpx.post(url + "/v1/chat/completions", json=body, headers=headers).status_code)
            found.append(httpx.get(url + "/").status_code)
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        code = main(["demo", "--model", str(tiny_folder), "--port", str(port), "--running", "3"])
    finally:
        signal.signal(signal.SIGTERM, before)
    thread.join()
    out = capsys.readouterr().out
    assert code == 0 and found == [200, 401, 200]
    assert asked == [(str(tiny_folder), tiny_folder.parent.name, "cpu", None, {"running": 3, "waiting": 64})]
    assert opened == [url + "/"] and engine.closed
    assert f"{url}/v1" in out and "curl" in out and "stopped" in out
    assert "k3y" not in out


def test_a_port_that_is_taken_and_options_that_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err
    assert main(["serve", "--allow-origin", "*"]) == 2
    assert "--allow-origin *" in capsys.readouterr().err
    for arguments in (["--port", "70000"], ["--engine", "magic"]):
        with pytest.raises(SystemExit) as left:
            main(["serve", *arguments])
        assert left.value.code == 2


def test_a_model_that_is_not_there_ends_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "no-such-folder", "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert "there is no folder no-such-folder" in err and "Traceback" not in err


def test_the_default_model_and_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert starting.default_model() == "nano"
    folder = tmp_path / starting.QUICKSTART
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert starting.default_model() == str(starting.QUICKSTART)
    names = {"nano": "nano", "Qwen/Qwen-VL-Chat": "Qwen/Qwen-VL-Chat", str(starting.QUICKSTART): "quickstart"}
    assert {model: starting.name_of(model) for model in names} == names
