"""TouchStone's answers judged: the published TSV and a model's answers in, scores and unreadable replies out."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenvl.data.clean.rules.script import language_of
from qwenvl.data.dialogues.llm.cache import Spent
from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.evaluate.judge import TEMPLATE, Judged, JudgeError, Question, judge, template_name, unreadable
from qwenvl.evaluate.metrics import stats
from qwenvl.evaluate.metrics.judge import HIGHEST
from qwenvl.evaluate.results import ANSWERS, RESULT, read_answers, read_result

LARGEST_FIELD = 256 << 20
"""Characters; the pictures stand in the TSV as base64."""

_COLUMNS = ("question", "human_annotation", "gpt4_ha_answer", "category")

WHERE = "touchstone_20230831.tsv is linked from github.com/OFA-Sys/TouchStone"


def judge_touchstone(
    folder: Path, tsv: Path, settings: LanguageModel, template: str = TEMPLATE, quiet: bool = False
) -> dict[str, Any]:
    """Judge the answers of `folder` (of the task, or of all results) and write their scores into its files.

    Without answers there, the TSV's own column "response" is judged, as TouchStone's submissions have it. Gives the
    content of `result.json`. Replies are kept in `judge.sqlite` beside it. Raises JudgeError, ResultsError, StopRun.
    """
    if not (folder / ANSWERS).is_file() and (folder / "touchstone" / ANSWERS).is_file():
        folder = folder / "touchstone"
    said = {answer.id: answer.answer for answer in read_answers(folder)}
    rows = list(_rows(tsv))
    questions = list(_questions(rows, said, tsv, folder))
    if not questions:
        raise JudgeError(f"{tsv}: nothing to judge: no row has an answer")
    folder.mkdir(parents=True, exist_ok=True)
    judged, spent = judge(questions, settings, folder / "judge.sqlite", template, quiet)
    before = read_result(folder).protocol if (folder / RESULT).is_file() else {}
    protocol = {**before, "judge": _judge_protocol(settings, template)}
    result = result_of(judged, len(rows), protocol, spent)
    _write(folder, judged, result)
    if (folder.parent / "results.json").is_file():
        from qwenvl.evaluate.harness import write_results

        write_results(folder.parent)
    return result


def _judge_protocol(settings: LanguageModel, template: str) -> dict[str, Any]:
    return {
        "model": settings.model,
        "endpoint": settings.base_url,
        "temperature": settings.temperature,
        "template": template_name(template),
        "orders": "both",
    }


def _rows(tsv: Path) -> Iterator[dict[str, str]]:
    """The text columns of the TSV, a picture's base64 dropped at once. Raises JudgeError."""
    if not tsv.is_file():
        raise JudgeError(f"{tsv}: there is no such file; {WHERE}")
    before = csv.field_size_limit(LARGEST_FIELD)
    try:
        with tsv.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise JudgeError(f"{tsv}: has no column {', '.join(missing)}; expected TouchStone's TSV ({WHERE})")
            for number, row in enumerate(reader):
                kept = {name: row[name] or "" for name in (*_COLUMNS, "index", "response") if name in row}
                yield {"index": str(number), **kept}
    except (csv.Error, UnicodeDecodeError) as error:
        raise JudgeError(f"{tsv}: not readable as a table with tabs: {error}") from None
    finally:
        csv.field_size_limit(before)


def _questions(
    rows: Sequence[Mapping[str, str]], said: Mapping[str, str], tsv: Path, folder: Path
) -> Iterator[Question]:
    """What is to be judged, in the TSV's order. Raises JudgeError."""
    known = {row["index"] for row in rows}
    if len(known) != len(rows):
        raise JudgeError(f"{tsv}: two rows have the same index; answers could not be told apart")
    if not said and not any("response" in row for row in rows):
        raise JudgeError(f"nothing to judge: no answers in {folder / ANSWERS}, and {tsv} has no column response")
    strange = [id for id in said if id not in known]
    if strange:
        raise JudgeError(f"{folder / ANSWERS}: {len(strange)} answers are of no row of {tsv}, the first {strange[0]!r}")
    for row in rows:
        answer = said.get(row["index"]) if said else row.get("response")
        if answer is not None:
            parts = tuple(part.strip() for part in row["category"].split(",") if part.strip())
            yield Question(row["index"], row["question"], row["human_annotation"], row["gpt4_ha_answer"], answer, parts)


def result_of(judged: Sequence[Judged], expected: int, protocol: Mapping[str, Any], spent: Spent) -> dict[str, Any]:
    """The scores as `result.json` has them: means over all readable replies, as TouchStone's evaluation takes them."""
    categories = dict.fromkeys(part for one in judged for part in one.question.categories)
    return {
        "task": "touchstone",
        "split": _language(judged),
        "items": len(judged),
        "expected": expected,
        "scores": {
            "score": _score(judged, "answer").as_dict(),
            "reference_score": _score(judged, "reference").as_dict(),
        },
        "categories": {
            name: {"score": _score(mine, "answer").as_dict()["value"], "n": len(mine)}
            for name in categories
            if (mine := [one for one in judged if name in one.question.categories])
        },
        "unreadable": unreadable(judged),
        "tokens": {"input": spent.input, "output": spent.output, "paid replies": spent.paid},
        "protocol": dict(protocol),
    }


def _language(judged: Sequence[Judged]) -> str:
    """Which of the two versions this is, by what most questions are written in."""
    return Counter(language_of(one.question.question) for one in judged).most_common(1)[0][0]


def _score(judged: Sequence[Judged], whose: str) -> stats.Score:
    """The mean over replies; questions are resampled whole, with both their replies."""
    sums = []
    for one in judged:
        found = [getattr(verdict, whose) / HIGHEST for verdict in one.verdicts if verdict.answer is not None]
        if found:
            sums.append((sum(found), float(len(found))))
    return stats.ratio(sums)


def _write(folder: Path, judged: Sequence[Judged], result: Mapping[str, Any]) -> None:
    """The scores into the answers, and the result; each file is whole at any time."""
    by_id = {one.question.id: one for one in judged}
    lines = []
    path = folder / ANSWERS
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [row for line in old if (row := _kept(line)) is not None] or [_row(one.question) for one in judged]
    for row in rows:
        one = by_id[str(row["id"])]
        row["score"] = one.score
        row["judge"] = [
            {"answer first": v.first, "answer": v.answer, "reference": v.reference, "reply": v.reply, "why": v.why}
            for v in one.verdicts
        ]
        lines.append(json.dumps(row, ensure_ascii=False))
    _replace(path, "\n".join(lines) + "\n")
    _replace(folder / RESULT, json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def _kept(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None  # blank, or cut off by a kill: whatever else is wrong, reading the answers told


def _row(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "prompt": question.question,
        "answer": question.answer,
        "targets": [question.reference],
        "category": ", ".join(question.categories) or None,
    }


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
