"""Two evaluations compared: the pairs, the tests' p-values, what is left out, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwenvl.cli import main
from qwenvl.evaluate.compare import BOOTSTRAP, MCNEMAR, Comparison, compare, mcnemar
from qwenvl.evaluate.metrics.stats import resampled
from qwenvl.evaluate.results import ResultsError


def write(out: Path, task: str, answers: list[dict[str, Any]], protocol: dict[str, Any] | None = None) -> None:
    (out / task).mkdir(parents=True)
    found = {"task": task, "split": "val", "items": len(answers), "scores": {}, "protocol": protocol or {}}
    (out / task / "result.json").write_text(json.dumps(found))
    (out / task / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))


def answer(id: int, score: float | None, **more: Any) -> dict[str, Any]:
    said = "right" if score else "wrong"
    return {"id": id, "prompt": f"q{id}", "answer": said, "targets": ["right"], "score": score, **more}


def compared(tmp_path: Path, a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Comparison:
    write(tmp_path / "a", "x", a)
    write(tmp_path / "b", "x", b)
    ((found,), apart) = compare(tmp_path / "a", tmp_path / "b")
    assert apart == []
    return found


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    # scipy.stats.binomtest(min, n, 0.5).pvalue
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 0.0625),
        (5, 5, 1.0),
        (10, 2, 0.03857421875),
        (120, 80, 0.005685155),
        (0, 3000, 0),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(better: int, worse: int, p: float) -> None:
    assert mcnemar(better, worse) == mcnemar(worse, better) == pytest.approx(p, rel=1e-6)
    if 0 < better + worse < 1000:
        n, k = better + worse, min(better, worse)
        exact = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        assert mcnemar(better, worse) == pytest.approx(min(1.0, exact), rel=1e-9)


def test_pairs_are_counted_by_id_whatever_their_order(tmp_path: Path) -> None:
    a = [answer(i, float(i % 2)) for i in range(40)]
    b = [answer(i, 1.0 if i < 20 else float(i % 2)) for i in reversed(range(40))]
    found = compared(tmp_path, a, b)
    assert (found.n, found.better, found.worse, found.test) == (40, 10, 0, MCNEMAR)
    assert (found.a, found.b) == (0.5, 0.75) and found.difference == 0.25
    assert found.p == pytest.approx(2 / 2**10)
    assert 0.1 < found.low < 0.25 < found.high < 0.4
    assert {change.id for change in found.changes} == {str(i) for i in range(0, 20, 2)}
    assert found.changes[0].answers == ("wrong", "right")


def test_the_same_evaluation_differs_in_nothing(tmp_path: Path) -> None:
    answers = [answer(i, i / 30, image="one.jpg") for i in range(30)]
    found = compared(tmp_path, answers, answers)
    assert (found.difference, found.low, found.high, found.p, found.changes) == (0, 0, 0, 1, ())


def test_questions_about_one_picture_stay_together(tmp_path: Path) -> None:
    def run(name: str, pictures: int) -> Comparison:
        def image(i: int) -> str:
            return f"{i % pictures}.jpg"

        a = [answer(i, 0.5, image=image(i)) for i in range(200)]
        b = [answer(i, 0.7 if (i % 4) else 0.2, image=image(i)) for i in range(200)]
        return compared(tmp_path / name, a, b)

    alone, together = run("alone", 200), run("together", 4)
    assert alone.test == together.test == BOOTSTRAP
    assert alone.difference == pytest.approx(together.difference)
    assert alone.p < 0.001 and together.p > 0.02
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_scores_of_0_and_1_about_shared_pictures_are_not_mcnemars(tmp_path: Path) -> None:
    a = [answer(i, 0.0, image="one.jpg") for i in range(4)]
    assert compared(tmp_path, a, [answer(i, 1.0, image="one.jpg") for i in range(4)]).test == BOOTSTRAP


def test_what_is_not_alike_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = [answer(i, 1.0) for i in range(6)] + [answer(9, None)]
    b = [answer(i, 0.0) for i in range(1, 8)] + [answer(9, 1.0)]
    b[0]["prompt"] = "another"
    b[1]["targets"] = ["another"]
    write(tmp_path / "a", "x", a, {"decoding": "greedy", "prompt": "p"})
    write(tmp_path / "b", "x", b, {"decoding": "sampled", "prompt": "p"})
    write(tmp_path / "b", "y", b)
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json", str(tmp_path / "c.json")]) == 0
    told = capsys.readouterr().out
    assert "left out: 1 samples only in A, 3 only in B, 2 with another prompt or target" in told
    assert "decoding: A greedy, B sampled" in told and "not compared\n  y: only in B" in told and "-100.0" in told
    assert told.count("100 → 0") == 3
    (task,) = json.loads((tmp_path / "c.json").read_text())["tasks"]
    assert task["n"] == 3 and task["worse"] == 3 and len(task["changes"]) == 3


def test_nothing_to_compare_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", "x", [answer(0, 1.0)])
    write(tmp_path / "b", "y", [answer(0, 1.0)])
    write(tmp_path / "c", "x", [answer(1, 1.0)])
    write(tmp_path / "d", "x", [answer(0, 1.0), answer(0, 0.0)])
    for other, told in (
        ("b", "no task is in both"),
        ("c", "x: 1 and 1 scored answers.*none of them to the same"),
        ("d", "the id '0'"),
    ):
        with pytest.raises(ResultsError, match=told):
            compare(tmp_path / "a", tmp_path / other)
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "no task is in both" in capsys.readouterr().err


def test_resampling_in_parts_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.arange(30.0).reshape(10, 3)
    whole = resampled(table, 40, seed=3)
    monkeypatch.setattr("qwenvl.evaluate.metrics.stats._COUNTS", 70)
    assert np.array_equal(resampled(table, 40, seed=3), whole)


def test_the_report_is_written_by_its_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "x", [answer(0, 1.0)])
    assert main(["eval", "report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file() and "report.html" in capsys.readouterr().out
