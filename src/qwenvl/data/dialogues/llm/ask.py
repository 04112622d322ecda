"""The pass that asks the language model about a corpus's pictures, unit by unit, and keeps what passes the checks."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwenvl.data.dialogues.exchanges import turn_tokens
from qwenvl.data.dialogues.gather import picture_key
from qwenvl.data.dialogues.layout import CACHE, Layout, read_json
from qwenvl.data.dialogues.llm.cache import Cache, Reply, Spent
from qwenvl.data.dialogues.llm.check import Rejected, turns_of
from qwenvl.data.dialogues.llm.client import Client, NoReply
from qwenvl.data.dialogues.llm.prompt import Task, task_of
from qwenvl.data.dialogues.llm.request import request_of
from qwenvl.data.dialogues.llm.settings import LanguageModel
from qwenvl.data.dialogues.recipe import DialogueRecipe
from qwenvl.data.dialogues.strategies import TOO_LONG
from qwenvl.data.dialogues.unit import Outcome, Unit, read_records, write_outcome
from qwenvl.data.engine import Interrupted, StopRun
from qwenvl.sample import Language, Record, Turn

NO_REPLY = "no reply"
LLM = "llm"


def ask_all(layout: Layout, recipe: DialogueRecipe, corpus: str, units: Sequence[Unit], quiet: bool) -> dict[str, Any]:
    """Ask about every unit that is not done yet; gives what the statistics tell of it.

    It runs in this process: the time goes in waiting, not in work. Raises StopRun where the endpoint takes no request,
    gives no replies, or the money is spent, and Interrupted; units that are done stay done, replies stay in the cache.
    """
    settings = recipe.strategies.llm
    assert settings is not None
    with Cache(Path(settings.cache) if settings.cache else layout.out / CACHE, corpus) as cache:
        left = [unit for unit in units if not layout.asked_mark(unit.number).exists()]
        if left:
            if not quiet:
                print(f"asking {settings.model} at {settings.base_url}, key from ${settings.key_env}", file=sys.stderr)
            try:
                asyncio.run(_ask_units(layout, recipe, settings, cache, left, quiet))
            except KeyboardInterrupt:
                done = len(units) - len(left)
                raise Interrupted(
                    f"stopped while asking, {done} of {len(units)} units were done before; run the same command again "
                    "and it goes on there: replies are kept"
                ) from None
        return _told(settings, cache.spent(), [read_json(layout.asked_mark(unit.number)) for unit in units])


def _told(settings: LanguageModel, spent: Spent, marks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rejected: Counter[str] = Counter()
    for mark in marks:
        rejected.update(mark["rejected"])
    return {
        "model": settings.model,
        "asked": sum(mark["asked"] for mark in marks),
        "kept": sum(sum(mark["tally"]["dialogues"].values()) for mark in marks),
        "dropped": sum(len(mark["dropped"]) for mark in marks),
        "requests": spent.paid + sum(spent.failures.values()),
        "from_cache": spent.from_cache,
        "input_tokens": spent.input,
        "output_tokens": spent.output,
        "cost": cost(settings, spent.input, spent.output),
        "failed_requests": spent.failures,
        "rejected_answers": dict(rejected.most_common()),
    }


def cost(settings: LanguageModel, input: int, output: int) -> float:
    """What so many tokens cost."""
    return (settings.price.input * input + settings.price.output * output) / 1e6


async def _ask_units(
    layout: Layout, recipe: DialogueRecipe, settings: LanguageModel, cache: Cache, units: Sequence[Unit], quiet: bool
) -> None:
    async with Client(settings, cache.failed) as client:
        asker = Asker(recipe, settings, cache, client)
        with tqdm(desc="asking", unit="picture", disable=quiet or None) as bar:
            for unit in units:
                records = read_records(layout.to_ask(unit.number))
                found, rejected = await asker.ask_unit(records, bar)
                more = {"asked": len(records), "rejected": rejected}
                write_outcome(layout.asked(unit.number), layout.asked_mark(unit.number), found, **more)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What became of a record: turns in a language, or why there are none."""

    language: Language
    turns: tuple[Turn, ...] = ()
    why: str = ""
    detail: str = ""


class Asker:
    """Asks about records, so many at once as the settings say."""

    def __init__(self, recipe: DialogueRecipe, settings: LanguageModel, cache: Cache, client: Client) -> None:
        self._recipe, self._settings, self._cache, self._client = recipe, settings, cache, client
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._unanswered = 0
        self._reserved, self._under_way = 0.0, 0
        self._stop: StopRun | None = None
        self._ended = asyncio.Condition()
        spent = cache.spent()
        self._cost = cost(settings, spent.input, spent.output)

    async def ask_unit(self, records: Sequence[Record], bar: Any) -> tuple[Outcome, Counter[str]]:
        """The conversations about some records, in their order whatever came first, and how answers failed."""
        rejected: Counter[str] = Counter()

        async def one(record: Record) -> _Asked | None:
            async with self._slots:
                if self._stop is not None:
                    return None
                try:
                    asked = await self._about(record, rejected)
                except StopRun as error:
                    # what is under way is paid for, so the others come to their end
                    self._stop = self._stop or error
                    return None
            bar.update()
            return asked

        results = await asyncio.gather(*map(one, records))
        if self._stop is not None:
            raise self._stop
        found = Outcome()
        for record, asked in zip(records, results, strict=True):
            assert asked is not None
            if asked.turns:
                found.keep(LLM, asked.language, [record], asked.turns, self._recipe.picture_tokens)
            else:
                found.drop(LLM, record, asked.why, asked.detail)
        return found, rejected

    async def _about(self, record: Record, rejected: Counter[str]) -> _Asked:
        task = task_of(record, self._settings, random.Random(f"{self._recipe.seed}/llm/{picture_key(record)}"))
        why = detail = ""
        for attempt in range(self._settings.attempts):
            try:
                reply = await self._reply(task, attempt)
            except NoReply as error:
                self._count_unanswered(error)
                return _Asked(task.language, why=f"{NO_REPLY}: {error.why}", detail=str(error))
            try:
                turns = turns_of(reply, task, self._settings.places == "inside")
                if turn_tokens(turns, self._recipe.picture_tokens) > self._recipe.max_tokens:
                    raise Rejected(TOO_LONG)
                return _Asked(task.language, turns)
            except Rejected as error:
                rejected[error.why] += 1
                why, detail = error.why, reply.text
        return _Asked(task.language, why=why, detail=detail)

    async def _reply(self, task: Task, attempt: int) -> Reply:
        settings = self._settings
        request, key = request_of(settings, task.messages, attempt)
        known = self._cache.find(key)
        if known is not None:
            return known
        most = cost(settings, sum(len(m["content"].encode()) for m in task.messages), settings.max_tokens)
        async with self._room(most):
            reply = await self._client.ask(request)
            self._cost += cost(settings, reply.input or 0, reply.output or 0)
        self._cache.keep(key, reply, settings.model)
        self._unanswered = 0
        return reply

    @asynccontextmanager
    async def _room(self, most: float) -> AsyncIterator[None]:
        """Room for what a request may cost at most (a token has at least a byte), once others left it. Raises StopRun
        where there is none.
        """
        limit = self._settings.max_cost
        if limit is not None:
            async with self._ended:
                await self._ended.wait_for(lambda: not self._under_way or self._cost + self._reserved + most <= limit)
        if limit is not None and self._cost + most > limit:
            raise StopRun(
                f"the next request could bring the cost beyond max_cost {limit:g} (spent: {self._cost:.4g}); what is "
                "done is kept: raise strategies.llm.max_cost and run the same command again"
            )
        self._reserved += most
        self._under_way += 1
        try:
            yield
        finally:
            self._reserved -= most
            self._under_way -= 1
            async with self._ended:
                self._ended.notify_all()

    def _count_unanswered(self, error: NoReply) -> None:
        if not error.again:  # it answered, only not to this
            return
        self._unanswered += 1
        if self._unanswered >= self._settings.give_up:
            raise StopRun(
                f"{self._settings.base_url}: {self._unanswered} pictures in a row got no reply; the last: {error}. "
                "What is done is kept: run the same command again when the endpoint answers"
            )
