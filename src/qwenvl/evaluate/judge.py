"""TouchStone: another model scores each answer beside the reference's, in both orders (arXiv 2308.16890)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwenvl.data.dialogues.llm.cache import Cache, Reply, Spent
from qwenvl.data.dialogues.llm.client import Client, NoReply
from qwenvl.data.dialogues.llm.request import request_of
from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.data.engine.errors import StopRun
from qwenvl.evaluate.metrics.judge import HIGHEST, parse_judge

SYSTEM = "You judge how well two assistants answered. Be fair: neither length nor order earns anything."

TEMPLATE = """What the picture shows, described in detail by a person:
{description}

The question about the picture:
{question}

The answer of assistant 1:
{answer_1}

The answer of assistant 2:
{answer_2}

Score each answer from 1 to 10, more for being more helpful, relevant, accurate and complete; what the description \
does not support is wrong. The first line of your reply has the two scores alone, that of assistant 1 and that of \
assistant 2, with a space between. Then say why, whatever the order of the answers."""
"""Asks as TouchStone's evaluation does, in our words; `--template` gives others, and the protocol tells which."""

FIELDS = ("description", "question", "answer_1", "answer_2")


class JudgeError(ValueError):
    """The judge can't be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is judged: the question, the picture's description by a person, the reference's answer and the model's."""

    id: str
    question: str
    description: str
    reference: str
    answer: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reply. `first` says whether the model's answer stood first; the scores are 1…10, None where the reply could
    not be read or there was none (`why`).
    """

    first: bool
    answer: float | None
    reference: float | None
    reply: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A question with its verdicts, one for each order."""

    question: Question
    verdicts: tuple[Verdict, Verdict]

    @property
    def score(self) -> float | None:
        """The model's mean over the readable orders, as a share of the highest score; None without any."""
        found = [verdict.answer for verdict in self.verdicts if verdict.answer is not None]
        return sum(found) / len(found) / HIGHEST if found else None


def judge(
    questions: Sequence[Question], settings: LanguageModel, cache: Path, template: str = TEMPLATE, quiet: bool = False
) -> tuple[list[Judged], Spent]:
    """Have a judge score each answer beside the reference's, in both orders; gives what each reply said, and the cost.

    Replies are kept in the file `cache`, so that a second run asks for nothing that was answered. A reply that can't be
    read is asked for again up to `settings.attempts` times, then kept as unreadable. Raises JudgeError for a template
    without its fields, StopRun where the endpoint takes no request. Needs the extra llm.
    """
    check_template(template)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with Cache(cache, "judge") as kept:
        found = asyncio.run(_judge_all(questions, settings, kept, template, quiet))
        return found, kept.spent()


def check_template(template: str) -> None:
    """Raise JudgeError where a template misses a field or can't be filled."""
    missing = [name for name in FIELDS if f"{{{name}}}" not in template]
    if missing:
        raise JudgeError(f"the judge's template has no {', '.join(f'{{{name}}}' for name in missing)}")


def template_name(template: str) -> str:
    """What the protocol calls a template."""
    digest = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
    return f"{'ours' if template == TEMPLATE else 'given'} ({digest})"


async def _judge_all(
    questions: Sequence[Question], settings: LanguageModel, cache: Cache, template: str, quiet: bool
) -> list[Judged]:
    slots = asyncio.Semaphore(settings.concurrency)
    async with Client(settings, cache.failed) as client:
        with tqdm(total=2 * len(questions), desc="judging", unit="reply", disable=quiet or None) as bar:
            asker = _Asker(settings, cache, client, template)

            async def one(question: Question, first: bool) -> Verdict:
                async with slots:
                    verdict = await asker.verdict(question, first)
                bar.update()
                return verdict

            asked = [one(question, first) for question in questions for first in (False, True)]
            verdicts = await asyncio.gather(*asked)
    if asker.stop is not None:
        raise asker.stop
    return [Judged(q, (verdicts[2 * i], verdicts[2 * i + 1])) for i, q in enumerate(questions)]


class _Asker:
    def __init__(self, settings: LanguageModel, cache: Cache, client: Client, template: str) -> None:
        self._settings, self._cache, self._client, self._template = settings, cache, client, template
        self.stop: StopRun | None = None
        self._unanswered = 0

    async def verdict(self, question: Question, first: bool) -> Verdict:
        """What the judge says with the model's answer in the first place or in the second."""
        pair = (question.answer, question.reference) if first else (question.reference, question.answer)
        values = dict(zip(FIELDS, (question.description, question.question, *pair), strict=True))
        messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": filled(self._template, values)})
        text = why = ""
        for attempt in range(self._settings.attempts):
            if self.stop is not None:
                return Verdict(first, None, None, "", "not asked")
            try:
                text = (await self._reply(messages, attempt)).text
            except NoReply as error:
                self._count(error)
                return Verdict(first, None, None, "", f"no reply: {error.why}")
            except StopRun as error:
                self.stop = self.stop or error
                return Verdict(first, None, None, "", "not asked")
            scores = parse_judge(text)
            if scores is not None:
                mine, other = scores if first else scores[::-1]
                return Verdict(first, mine, other, text)
            why = "not two scores"
        return Verdict(first, None, None, text, why)

    async def _reply(self, messages: Sequence[dict[str, str]], attempt: int) -> Reply:
        request, key = request_of(self._settings, messages, attempt)
        known = self._cache.find(key)
        if known is not None:
            return known
        reply = await self._client.ask(request)
        self._cache.keep(key, reply, self._settings.model)
        self._unanswered = 0
        return reply

    def _count(self, error: NoReply) -> None:
        self._unanswered += error.again
        if self._unanswered >= self._settings.give_up:
            self.stop = self.stop or StopRun(
                f"{self._settings.base_url}: {self._unanswered} requests in a row got no reply; the last: {error}. "
                "Replies are kept: run the same command again when the endpoint answers"
            )


def filled(template: str, values: dict[str, str]) -> str:
    """A template with its fields; what stands in a value is never taken for a field."""
    return _HOLE.sub(lambda hole: values[hole[1]], template)


_HOLE = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")


def unreadable(judged: Sequence[Judged], shown: int = 20) -> dict[str, Any]:
    """How many replies gave no scores, of how many, by reason, and the first ones as they came."""
    bad = [(one.question.id, verdict) for one in judged for verdict in one.verdicts if verdict.answer is None]
    return {
        "count": len(bad),
        "of": 2 * len(judged),
        "why": dict(Counter(verdict.why for _, verdict in bad).most_common()),
        "shown": [
            {"id": id, "answer first": verdict.first, "why": verdict.why, "reply": verdict.reply[:1000]}
            for id, verdict in bad[:shown]
        ],
    }
