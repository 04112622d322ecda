"""vLLM as an engine: what it is told, and, where vLLM is installed, that its tokens are ours."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from qwenvl.serve import Generation, generate, load
from qwenvl.serve.requests import Constraint, Request
from qwenvl.serve.vllm_engine import VllmEngine, sampling
from qwenvl.text.tokenizer import QwenTokenizer
from tests.serve.test_batching import Asked
from tests.serve.test_vllm_plugin import conversations

without_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


def test_options_in_vllms_words() -> None:
    greedy = sampling(Generation(), (5, 6), 10, None)
    assert greedy["temperature"] == 0 and greedy["max_tokens"] == 10 and greedy["logprobs"] is None
    # the ids that end an answer are ours alone, whatever the checkpoint's files say
    assert greedy["stop_token_ids"] == [5, 6] and greedy["ignore_eos"] and greedy["seed"] is None
    options = Generation(50, min_new_tokens=20, temperature=0.7, top_p=0.9, repetition_penalty=1.2, seed=-1)
    drawn = sampling(options, (), 8, 0)
    assert drawn["min_tokens"] == 8 and drawn["repetition_penalty"] == 1.2 and drawn["top_p"] == 0.9
    assert drawn["seed"] >= 0 and drawn["logprobs"] == 0
    assert drawn["seed"] == sampling(options, (), 8, 0)["seed"] != sampling(replace(options, seed=1), (), 8, 0)["seed"]


def test_what_it_can_not_serve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="running=0"):
        VllmEngine(tmp_path, running=0)
    with pytest.raises(ValueError, match=r"no config\.json"):
        VllmEngine(tmp_path)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_extra_is_named(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi")
    from qwenvl.cli import main

    assert main(["serve", "--engine", "vllm", "--model", str(tiny_folder), "--port", "0"]) == 2
    assert 'pip install "qwenvl[vllm]"' in capsys.readouterr().err


@pytest.mark.slow
@without_vllm
def test_vllm_behind_our_engine_says_what_we_say() -> None:
    loaded = load("nano")
    examples = conversations(loaded)
    ours = generate(loaded.model, loaded.tokenizer, examples, Generation(max_new_tokens=32))
    assert len({tuple(answer) for answer in ours}) > 5
    engine = VllmEngine(loaded.folder, running=8, waiting=len(examples))
    try:
        assert engine.limits.context == 2048 and engine.limits.memory > 0
        options = Generation(max_new_tokens=32)
        asked = [Asked(engine, Request(example, options, str(i % 3))) for i, example in enumerate(examples)]
        found = [one.wait() for one in asked]
        assert [ids for ids, _ in found] == ours
        assert {end.reason for _, end in found} <= {"stop", "length"}

        # log-probabilities, before temperature, of the likeliest and of the chosen
        one = Asked(engine, Request(examples[0], Generation(max_new_tokens=4), logprobs=3))
        ids, _ = one.wait()
        assert ids == ours[0][:4]
        for token in one.tokens:
            assert len(token.top) == 3 and token.top[0] == (token.id, token.logprob)
            assert [score for _, score in token.top] == sorted((score for _, score in token.top), reverse=True)

        # the same seed, the same answer; and it differs from the greedy one
        drawn = Generation(max_new_tokens=24, temperature=1.8, seed=-1, stop=())
        twice = [Asked(engine, Request(examples[0], drawn)).wait()[0] for _ in range(2)]
        assert twice[0] == twice[1] != ours[0] and len(twice[0]) == 24

        # who leaves frees the place
        endless = Asked(engine, Request(examples[0], Generation(max_new_tokens=1500, stop=())))
        endless.events.get(timeout=30)
        endless.handle.cancel()
        ids, end = endless.wait()
        assert end.reason == "cancelled" and len(ids) < 1400

        # an answer of a given form
        ids, _ = Asked(engine, Request(examples[0], Generation(200), constraint=_form(loaded.tokenizer))).wait()
        assert json.loads(loaded.tokenizer.decode(ids)).keys() == {"objects"}
        assert not engine.figures()["broken"] and engine.figures()["failures_total"] == 0
    finally:
        engine.close()


def _form(tokenizer: QwenTokenizer) -> Constraint:
    from qwenvl.serve.api_json import Grammars

    properties = {"objects": {"type": "integer", "minimum": 0, "maximum": 99}}
    wanted = {"type": "object", "properties": properties, "required": ["objects"], "additionalProperties": False}
    return Grammars(tokenizer).json(wanted)
