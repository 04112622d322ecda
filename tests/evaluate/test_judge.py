"""The judge: what replies say, both orders, replies kept, and unreadable ones counted and shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from qwenvl.cli import main
from qwenvl.evaluate.judge import TEMPLATE, JudgeError, check_template, filled
from qwenvl.evaluate.metrics.judge import parse_judge
from qwenvl.evaluate.published import PUBLISHED
from qwenvl.evaluate.report_tasks import write_task_report
from qwenvl.evaluate.results import read_answers
from tests.data.dialogues.endpoint import endpoint


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("8 9\nBoth are good, 7 of 10.", (8, 9)),
        ("\n 7.5 10 \n", (7.5, 10)),
        ("8, 9", (8, 9)),
        ("**8/10 9/10**", (8, 9)),
        ("8 and 9", (8, 9)),
        ("Assistant 1: 8\nAssistant 2: 9", (8, 9)),
        ("Assistant 2 gets a 4, and Assistant 1 gets a 6.5.", (6.5, 4)),
        ("Both assistants did well.", None),
        ("Assistant 1 named 3 of 4 dogs.", None),
        ("Assistant 1: 8\nAssistant 1: 7\nAssistant 2: 9", None),
        ("I give 8 9", None),
        ("8", None),
        ("8 9 7", None),
        ("0 9", None),
        ("11 9", None),
        ("85 90", None),
        ("-8 9x", None),
        ("", None),
    ],
)
def test_what_a_reply_says(reply: str, scores: tuple[float, float] | None) -> None:
    assert parse_judge(reply) == scores


def test_a_template_is_filled_once_and_checked() -> None:
    values = {"description": "{question}", "question": "{answer_1}", "answer_1": "{x}", "answer_2": "b"}
    assert filled("{description}|{question}|{answer_1}|{answer_2}{}", values) == "{question}|{answer_1}|{x}|b{}"
    check_template(TEMPLATE)
    with pytest.raises(JudgeError, match=r"\{description\}, \{answer_2\}"):
        check_template("{question} {answer_1}")


def write_tsv(path: Path, count: int, **columns: str) -> None:
    header = ["index", "image", "question", "human_annotation", "gpt4_ha_answer", "category", "task_name", *columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, delimiter="\t")
        out.writerow(header)
        for i in range(count):
            row = [i, "A" * 200_000, f"Why\t{i}?", f"seen {i}", f"reference {i}", "c0,c1" if i else "c0", "t"]
            out.writerow([*row, *columns.values()])


def write_answers(folder: Path, ids: list[int], cut: str = "") -> None:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"id": str(i), "prompt": "p", "answer": f"mine {i}", "score": None, "size": [1, 2]}) for i in ids
    ]
    (folder / "answers.jsonl").write_text("".join(f"{line}\n" for line in lines) + cut)
    found = {"task": "touchstone", "split": "x", "items": len(ids), "scores": {}, "protocol": {"prompt": "as asked"}}
    (folder / "result.json").write_text(json.dumps(found))


def like_mine(number: int, request: dict[str, Any]) -> str:
    """Scores the model's answer 6 and the reference 9, and adds one for standing first; can't judge item 2 alone."""
    text = request["messages"][1]["content"]
    first = text.index("mine") < text.index("reference")
    if "mine 2" in text and not first:
        return "I <b>can not</b> say."
    return "7 9\nwhy" if first else "10 6\nwhy"


def judged(out: Path, tsv: Path, url: str, *more: str) -> int:
    return main(["eval", "judge", str(out), "--data", str(tsv), "--base-url", url, "--judge", "j", *more])


def test_both_orders_are_asked_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tsv, out = tmp_path / "t.tsv", tmp_path / "out"
    write_tsv(tsv, 4)
    write_answers(out / "touchstone", [2, 0, 1], cut='{"id": "3", "ans')
    (out / "results.json").write_text('{"tasks": []}')
    with endpoint(like_mine) as server:
        assert judged(out, tsv, server.base_url) == 0
        # the reply that can't be read was asked for again
        assert len(server.requests) == 7
        told = capsys.readouterr().out
        assert judged(out, tsv, server.base_url) == 0
        assert len(server.requests) == 7
    assert "TouchStone 660.0 of 1000" in told and "3 of 4 answers judged; 1 of 6 replies unreadable" in told
    assert "1 not two scores" in told and "2: 'I <b>can not</b> say.'" in told
    asked = {request["messages"][1]["content"] for request in server.requests}
    assert len(asked) == 6 and all("seen" in text and "Why\t" in text for text in asked)
    found = json.loads((out / "touchstone" / "result.json").read_text())
    assert found["scores"]["score"]["value"] == pytest.approx((7 * 3 + 6 * 2) / 5 / 10)
    assert found["scores"]["reference_score"]["value"] == pytest.approx((9 * 3 + 10 * 2) / 5 / 10)
    assert json.loads((out / "results.json").read_text())["tasks"] == [found]
    assert found["categories"]["c1"]["n"] == 2 and found["items"] == 3 and found["expected"] == 4
    assert found["protocol"]["prompt"] == "as asked" and found["protocol"]["judge"]["model"] == "j"
    answers = list(read_answers(out / "touchstone"))
    assert [(answer.id, answer.score) for answer in answers] == [("2", 0.7), ("0", 0.65), ("1", 0.65)]
    assert answers[0].extra["size"] == [1, 2] and answers[0].extra["judge"][0]["reply"] == "I <b>can not</b> say."
    page = write_task_report(out).read_text()
    assert "660.0" in page and "645.2" in page and "1 of 6 replies gave no scores" in page
    assert "I &lt;b&gt;can not&lt;/b&gt; say." in page and any(entry.name == "TouchStone En" for entry in PUBLISHED)


def test_a_submission_is_judged_too_and_silence_is_no_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tsv, out = tmp_path / "t.tsv", tmp_path / "out"
    write_tsv(tsv, 1, response="mine")
    template = tmp_path / "words.txt"
    template.write_text("{description} {question} A {answer_1} B {answer_2}")
    with endpoint(lambda number, request: "no scores") as server:
        assert judged(out, tsv, server.base_url, "--template", str(template)) == 0
    assert server.requests[0]["messages"][1]["content"] == "seen 0 Why\t0? A reference 0 B mine"
    found = json.loads((out / "result.json").read_text())
    assert found["scores"]["score"]["value"] is None and found["unreadable"]["count"] == 2
    assert [answer.score for answer in read_answers(out)] == [None]
    assert found["protocol"]["judge"]["template"].startswith("given (")
    assert "2 of 2 replies unreadable" in capsys.readouterr().out


def test_an_endpoint_that_refuses_ends_it_and_writes_no_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tsv, out = tmp_path / "t.tsv", tmp_path / "out"
    write_tsv(tsv, 3, response="mine")
    with endpoint(lambda number, request: 401) as server:
        assert judged(out, tsv, server.base_url, "--concurrency", "1") == 2
    assert len(server.requests) == 1 and not (out / "result.json").exists()
    assert "HTTP 401" in capsys.readouterr().err


def test_what_can_not_be_judged_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tsv, url = tmp_path / "t.tsv", "http://127.0.0.1:9/v1"
    write_tsv(tsv, 1)
    write_answers(tmp_path / "strange", [7])
    other = tmp_path / "other.tsv"
    other.write_text("a\tb\n1\t2\n")
    cases = [
        (tmp_path / "out", tsv, "no column response"),
        (tmp_path / "strange", tsv, "1 answers are of no row"),
        (tmp_path / "strange", other, "has no column question"),
        (tmp_path / "strange", tmp_path / "none.tsv", "there is no such file; touchstone_20230831.tsv"),
    ]
    for out, table, told in cases:
        assert judged(out, table, url) == 2
        assert told in capsys.readouterr().err
