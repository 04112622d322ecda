"""A language model's conversations, from a stand-in over real HTTP: what is asked, kept, refused, paid and resumed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

import qwenvl
from qwenvl.cli.command import main
from qwenvl.data.dialogues.gather import joined, loaded
from qwenvl.data.dialogues.llm.cache import CacheError, Reply
from qwenvl.data.dialogues.llm.check import Rejected, turns_of
from qwenvl.data.dialogues.llm.client import Client
from qwenvl.data.dialogues.llm.prompt import Task, task_of
from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.data.dialogues.run import make
from qwenvl.data.engine import Outcome, StopRun
from qwenvl.data.sources import open_source
from qwenvl.sample import Region, Text
from tests.data.dialogues.endpoint import GOOD, answer_with_box, endpoint

Made = Callable[..., Any]
QUICK: dict[str, Any] = {
    "model": "stand-in",
    "wait": 0.01,
    "timeout": 0.5,
    "retries": 3,
    "concurrency": 4,
    "attempts": 1,
}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's workers take longer to start than all the rest here."""

    def run(units: Any, work: Any, done: Any, **_: Any) -> Outcome[Any]:
        return Outcome(len([work(unit) for unit in units if not done(unit)]), 0, 0, ())

    monkeypatch.setattr("qwenvl.data.dialogues.run.run", run)


def llm(server: Any, **keys: Any) -> dict[str, Any]:
    return {"llm": QUICK | {"base_url": server.base_url} | keys}


def dropped(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dropped" / "00000.jsonl").read_text().splitlines()]


def test_answers_become_conversations_with_the_given_boxes(
    recipe_of: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    with endpoint(lambda number, request: answer_with_box(request)) as server:
        found = make(recipe_of(llm(server, key_env="STAND_IN_KEY", price={"input": 1.0, "output": 2.0})),
                     tmp_path / "out", quiet=True)  # fmt: skip
    made = list(open_source(tmp_path / "out"))
    assert len(made) == len(server.requests) == 8
    for record in made:
        (region,) = (part for part in record.dialogues[0][1].parts if isinstance(part, Region))
        # the very pixels of the annotation, not those of a cell's centre
        assert region.boxes[0].x0 == 10.0 and region.boxes[0].y1 == 40.0
    notes = server.requests[0]["messages"][1]["content"]
    assert "wall behind a dog" in notes and "<box>(100,100)," in notes
    told = found["llm"]
    assert (told["requests"], told["input_tokens"], told["output_tokens"]) == (8, 800, 160)
    assert told["cost"] == pytest.approx((800 + 2 * 160) / 1e6)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer sk-very-secret"}
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"sk-very" in path.read_bytes()]


def test_without_the_named_variable_no_other_key_is_sent(
    recipe_of: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    with endpoint(lambda number, request: GOOD) as server:
        make(recipe_of(llm(server, key_env="NOT_SET")), tmp_path / "out", quiet=True)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer none"}


@pytest.mark.parametrize(
    ("misdeed", "why"),
    [
        (429, "HTTP 429"),
        (500, "HTTP 500"),
        (503, "HTTP 503"),
        ("slow", "time-out"),
        ("trickle", "time-out"),
        ("cut", "connection lost"),
        ("hang up", "connection lost"),
        ("no json", "broken reply"),
        ("wrong json", "broken reply"),
    ],
)
def test_what_passes_is_tried_again(misdeed: Any, why: str) -> None:
    failed: list[str] = []

    async def ask(server: Any) -> Reply:
        async with Client(LanguageModel(base_url=server.base_url, **QUICK), failed.append) as client:
            return await client.ask({"model": "stand-in", "messages": [{"role": "user", "content": "?"}]})

    with endpoint(lambda number, request: misdeed if number < 2 else GOOD) as server:
        reply = asyncio.run(ask(server))
    assert json.loads(reply.text) == GOOD and (reply.finish, reply.input, reply.output) == ("stop", 100, 20)
    assert failed == [why, why] and len(server.requests) == 3


@pytest.mark.parametrize(("misdeed", "why"), [(400, "HTTP 400"), ("huge", "reply too large")])
def test_what_does_not_pass_is_dropped_with_its_reason(recipe_of: Made, tmp_path: Path, misdeed: Any, why: str) -> None:
    with endpoint(lambda number, request: misdeed if "red wall" in str(request) else GOOD) as server:
        found = make(recipe_of(llm(server)), tmp_path / "out", quiet=True)
    assert found["llm"]["kept"] == 7 and len(server.requests) == 8
    (row,) = dropped(tmp_path / "out")
    assert row["reason"] == f"no reply: {why}" and "data.jsonl/c0" in row["from"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_ends_the_run_without_being_told(
    recipe_of: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("STAND_IN_KEY", "sk-very-secret")
    with endpoint(lambda number, request: status) as server, pytest.raises(StopRun) as caught:
        make(recipe_of(llm(server, key_env="STAND_IN_KEY", concurrency=1)), tmp_path / "out", quiet=True)
    assert len(server.requests) == 1
    assert f"HTTP {status}" in str(caught.value) and "sk-very-secret" not in str(caught.value)


def test_an_endpoint_that_is_down_ends_the_run_and_it_goes_on_without_paying_twice(
    recipe_of: Made, tmp_path: Path
) -> None:
    def script(number: int, request: dict[str, Any]) -> Any:
        return GOOD if number < 3 else 500

    keys = {"concurrency": 1, "retries": 0, "give_up": 2}
    with endpoint(script) as server:
        with pytest.raises(StopRun, match="2 pictures in a row"):
            make(recipe_of(llm(server, **keys)), tmp_path / "out", quiet=True)
        assert len(server.requests) == 5
        server.script = lambda number, request: GOOD
        found = make(recipe_of(llm(server, **keys, timeout=2.0)), tmp_path / "out", quiet=True)
        assert len(server.requests) == 5 + 5
        assert (found["llm"]["kept"], found["llm"]["requests"], found["llm"]["from_cache"]) == (8, 10, 0)
        again = make(recipe_of(llm(server), name="again"), tmp_path / "out", quiet=True, fresh=True)
        assert len(server.requests) == 10
        assert (again["llm"]["from_cache"], again["llm"]["requests"], again["llm"]["cost"]) == (8, 0, 0)


def test_the_money_is_never_overspent(recipe_of: Made, tmp_path: Path) -> None:
    # a request may take its bytes as tokens and 3,000 more; a reply takes 120
    price = {"input": 1000.0, "output": 1000.0}
    with endpoint(lambda number, request: GOOD) as server:
        with pytest.raises(StopRun, match=r"max_cost 4\.7"):
            make(recipe_of(llm(server, price=price, max_cost=4.7, max_tokens=3000)), tmp_path / "out", quiet=True)
        asked = len(server.requests)
        assert 0 < asked < 8
        found = make(recipe_of(llm(server, price=price, max_cost=40.0, max_tokens=3000)), tmp_path / "out", quiet=True)
    assert len(server.requests) == 8 and found["llm"]["cost"] == pytest.approx(8 * 0.12)


def turn(question: str, answer: str) -> dict[str, Any]:
    return {"turns": [{"question": question, "answer": answer}]}


BAD: list[tuple[Any, str]] = [
    ("Sorry, I can't.", "no JSON"),
    ('{"turns": [', "no JSON"),
    ('{"turns": [}', "broken JSON"),
    ("[" * 5000 + "{" + "[" * 50000 + "}", "broken JSON"),
    ({"turns": []}, "no list of turns"),
    ({"turns": ["x"]}, "a turn is no object"),
    ({"turns": [{"question": "What?"}]}, "no answer"),
    ({"turns": [{"question": "What?", "answer": 3}]}, "no answer"),
    ({"turns": GOOD["turns"] * 2}, "a question is asked twice"),
    ({"turns": [{"question": f"{i}?", "answer": "x"} for i in range(30)]}, "too many turns"),
    (turn("What?", "The <ref>cat</ref><box>(1,1),(9,9)</box>."), "a box that is not among the given ones"),
    (turn("What?", "The <ref>cat</ref><box>(1,1),(9,2000)</box>."), "a place or tag is not well formed"),
    (turn("What?", "The <box>cat</box>."), "a place or tag is not well formed"),
    (turn("What?", "The <img>/etc/passwd</img> here."), "a place or tag is not well formed"),
    (turn("What?", "Done.<|im_end|>"), "a place or tag is not well formed"),
    (turn("What?", "The <ref>cat</ref> here."), "a name without a place, or a place without a name"),
    (turn("图里有什么？", "一面墙和一只狗。"), "not in the language asked for"),
    (turn("Что это?", "Это стена."), "not in the language asked for"),
    (turn("Que fait le chien?", "Le chien dort devant un mur rouge pendant une belle soirée calme."),
     "not in the language asked for"),
    (turn("What is it?", "According to the caption, it is a wall."), "speaks of the notes"),
]  # fmt: skip


@pytest.fixture
def task(pictures: Path) -> Task:
    (record, *_) = joined([loaded(record) for record in open_source(pictures / "data.jsonl")])
    return task_of(record, LanguageModel("http://x/v1", "m"), random.Random(0))


def reply(answer: Any, finish: str = "stop") -> Reply:
    return Reply(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False), finish, 1, 1)


@pytest.mark.parametrize(("answer", "why"), BAD)
def test_answers_that_fail_the_checks(task: Task, answer: Any, why: str) -> None:
    with pytest.raises(Rejected) as caught:
        turns_of(reply(answer), task, inside=False)
    assert caught.value.why == why


@pytest.mark.parametrize("text", ["The red wall shows a café.", "It is 3.", "They say: keep out!"])
def test_answers_that_pass(task: Task, text: str) -> None:
    assert turns_of(reply(turn("What is this?", text)), task, inside=False)[1].parts == (Text(text),)
    with pytest.raises(Rejected, match="cut off"):
        turns_of(reply(turn("What is this?", text), "length"), task, inside=False)


def test_an_answer_that_fails_is_kept_with_its_reason(recipe_of: Made, tmp_path: Path) -> None:
    with endpoint(lambda number, request: "Sorry." if "red wall" in str(request) else GOOD) as server:
        found = make(recipe_of(llm(server, attempts=2)), tmp_path / "out", quiet=True)
    assert found["llm"]["kept"] == 7 and found["llm"]["rejected_answers"] == {"no JSON": 2}
    (row,) = dropped(tmp_path / "out")
    assert (row["reason"], row["detail"]) == ("no JSON", "Sorry.")


def test_another_answer_is_asked_for(recipe_of: Made, tmp_path: Path) -> None:
    with endpoint(lambda number, request: "nonsense" if number == 0 else GOOD) as server:
        found = make(recipe_of(llm(server, attempts=2)), tmp_path / "out", quiet=True)
    assert found["llm"]["kept"] == 8 and len(server.requests) == 9


def test_any_place_inside_where_the_recipe_says_so(recipe_of: Made, tmp_path: Path) -> None:
    answer = turn("Where is the cat?", "The <ref>cat</ref><box>(100,200),(300,400)</box> is there.")
    with endpoint(lambda number, request: answer) as server:
        make(recipe_of(llm(server, places="inside")), tmp_path / "out", quiet=True)
    (region, *_) = (p for r in open_source(tmp_path / "out") for p in r.dialogues[0][1].parts if isinstance(p, Region))
    assert region.boxes[0].x0 == pytest.approx(10.05) and region.boxes[0].y1 == pytest.approx(32.04)


def test_chinese_reasoning_in_a_fence(recipe_of: Made, tmp_path: Path) -> None:
    body = {"turns": [{"question": "为什么狗在墙前面？", "reasoning": "墙挡住了风。", "answer": "狗在避风。"}]}
    fenced = f"```json\n{json.dumps(body, ensure_ascii=False)}\n```"
    with endpoint(lambda number, request: fenced) as server:
        found = make(recipe_of(llm(server, language="zh", forms={"reasoning": 1.0})), tmp_path / "out", quiet=True)
    assert found["strategies"][0]["languages"] == {"zh": 8}
    assert "Chinese" in server.requests[0]["messages"][1]["content"]
    answers = {record.dialogues[0][1].parts[0].text for record in open_source(tmp_path / "out")}  # type: ignore[union-attr]
    assert answers == {"墙挡住了风。\n狗在避风。"}


def test_without_the_package_it_is_said_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    recipe = {"name": "t", "sources": [{"source": str(pictures / "data.jsonl")}], "strategies": {"llm": {
        "base_url": "http://127.0.0.1:9/v1", "model": "m"}}}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["data", "dialogues", str(tmp_path / "recipe.yaml"), str(tmp_path / "out")]) == 2
    assert 'pip install "qwenvl[llm]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cache_that_is_none(recipe_of: Made, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"this is no database, but long enough to be one" * 100)
    with endpoint(lambda number, request: GOOD) as server, pytest.raises(CacheError, match="mend it"):
        make(recipe_of(llm(server, cache=str(tmp_path / "cache"))), tmp_path / "out", quiet=True)
    assert not server.requests


def test_stopped_in_the_midst_it_goes_on_and_asks_only_for_what_is_missing(pictures: Path, tmp_path: Path) -> None:
    stuck = threading.Event()
    good = 3

    def script(number: int, request: dict[str, Any]) -> Any:
        if number < good:
            return GOOD
        stuck.set()
        return "slow"

    with endpoint(script) as server:
        keys = QUICK | {"base_url": server.base_url, "concurrency": 1, "timeout": 30.0}
        recipe = {"name": "t", "sources": [{"source": str(pictures / "data.jsonl")}], "strategies": {"llm": keys}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        command = [sys.executable, "-m", "qwenvl", "data", "dialogues", str(tmp_path / "recipe.yaml"), "out"]
        env = os.environ | {"PYTHONPATH": str(Path(qwenvl.__file__).parents[1])}
        for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
            stuck.clear()
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
            assert stuck.wait(30) or process.kill()
            process.send_signal(how)
            told = process.communicate(timeout=30)[1]
            assert process.returncode == code
            assert how == signal.SIGKILL or "run the same command again" in told
            assert len(server.requests) == good + 1
            good += 4  # three more, after the one that was cut off
        server.script = lambda number, request: GOOD
        assert subprocess.run(command, cwd=tmp_path, env=env, capture_output=True).returncode == 0
        # eight replies, and one each time that was cut off
        assert len(server.requests) == 8 + 2
    assert len(list(open_source(tmp_path / "out"))) == 8
