"""`qwenvl eval report`, `compare` and `judge`: what is done with an evaluation's results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb


def add(p: argparse.ArgumentParser) -> None:
    """Register the verbs below `qwenvl eval`, which also stands alone."""
    within: Verbs = p.add_subparsers(title="with results", metavar="report | compare | judge")
    made = verb(within, "report", report, "write report.html beside the results of a folder")
    made.add_argument("results", type=Path, metavar="OUT", help="folder that `qwenvl eval --out` wrote")
    made.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="show pictures that answers name where they lie below these folders (default: no pictures)",
    )
    made = verb(within, "compare", compare, "compare two evaluations sample by sample, with a paired test")
    made.add_argument("a", type=Path, metavar="A", help="results folder, of all tasks or of one")
    made.add_argument("b", type=Path, metavar="B")
    made.add_argument("--show", type=_count, default=3, help="changed samples shown each way (default: %(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write everything, every changed sample included")
    _add_judge(within)


def _add_judge(within: Verbs) -> None:
    made = verb(within, "judge", judge, "have another model score TouchStone's answers, in both orders")
    made.add_argument("results", type=Path, metavar="OUT", help="folder with the answers; the scores go there too")
    made.add_argument("--data", type=Path, required=True, metavar="TSV", help="TouchStone's table")
    made.add_argument("--base-url", required=True, metavar="URL", help="an OpenAI-compatible endpoint, …/v1")
    made.add_argument("--judge", required=True, metavar="MODEL", help="the judging model's name there")
    made.add_argument(
        "--key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the key (default: %(default)s)"
    )
    made.add_argument(
        "--template",
        type=Path,
        metavar="FILE",
        help="ask in these words, with {description}, {question}, {answer_1} and {answer_2} in them (default: ours)",
    )
    made.add_argument("--concurrency", type=positive, default=8, help="requests at once (default: %(default)s)")


def report(options: argparse.Namespace) -> None:
    """`qwenvl eval report`."""
    from qwenvl.evaluate.report_tasks import write_task_report

    print(f"wrote {write_task_report(options.results, options.images)}")


def compare(options: argparse.Namespace) -> None:
    """`qwenvl eval compare`."""
    from qwenvl.evaluate.compare import compare as compared
    from qwenvl.evaluate.compare_text import comparison_text

    found, apart = compared(options.a, options.b)
    print(comparison_text(found, apart, options.show))
    if options.json:
        content = {"a": str(options.a), "b": str(options.b), "tasks": [one.as_dict() for one in found]}
        options.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nwrote {options.json}")


def judge(options: argparse.Namespace) -> None:
    """`qwenvl eval judge`."""
    from qwenvl.data.dialogues.llm.settings import LanguageModel
    from qwenvl.evaluate.judge import TEMPLATE
    from qwenvl.evaluate.touchstone import judge_touchstone

    settings = LanguageModel(
        base_url=options.base_url,
        model=options.judge,
        key_env=options.key_env,
        temperature=0.0,
        concurrency=options.concurrency,
    )
    settings.check("judge")
    template = options.template.read_text(encoding="utf-8") if options.template else TEMPLATE
    found = judge_touchstone(options.results, options.data, settings, template)
    score, bad = found["scores"]["score"], found["unreadable"]
    if score["value"] is not None:
        print(f"TouchStone {1000 * score['value']:.1f} of 1000 ({1000 * score['low']:.1f}–{1000 * score['high']:.1f})")
    print(f"{found['items']} of {found['expected']} answers judged; {bad['count']} of {bad['of']} replies unreadable")
    for reason, count in bad["why"].items():
        print(f"  {count} {reason}")
    for one in bad["shown"][:3]:
        print(f"  {one['id']}: {one['reply'][:200]!r}")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, not {text!r}")
    return int(text)
