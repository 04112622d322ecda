"""Conversations about one picture: its own, its questions joined, its annotations of several kinds joined."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qwenvl.data.dialogues.exchanges import (
    Exchange,
    Kind,
    conversation,
    exchanges,
    languages_of,
    questions,
    tokens,
    turn_tokens,
)
from qwenvl.data.dialogues.recipe import DialogueRecipe, Strategy
from qwenvl.data.dialogues.wordings import Wordings
from qwenvl.sample import Image, Language, Record, Turn

TOO_LONG = "longer than max_tokens"


@dataclass(frozen=True, slots=True)
class Made:
    """What a strategy made of a record: conversations in `language`, and why others were dropped."""

    dialogues: tuple[tuple[Turn, ...], ...] = ()
    language: Language = "en"
    dropped: tuple[str, ...] = ()


def possible(record: Record, recipe: DialogueRecipe) -> list[Strategy]:
    """The recipe's strategies that a record has annotations for."""
    chosen = recipe.strategies
    kinds = {language: kinds_of(record, language) for language in languages_of(record)}
    known = bool(record.captions or record.phrases or record.lines)
    single = len(record.images) == 1
    fits: dict[Strategy, bool] = {
        "as_is": bool(record.dialogues),
        "multi_turn": chosen.multi_turn is not None and bool(_joinable(record, chosen.multi_turn.turns[0])),
        "several_tasks": single and any(len(some) > 1 for some in kinds.values()),
        "several_pictures": single and any(kinds.values()),
        "llm": single and known,
    }
    return [name for name in chosen.weights if fits[name]]


def draw(weights: dict[Strategy, float], among: Sequence[Strategy], rng: random.Random) -> Strategy | None:
    """One of the strategies by weight; None where there is none."""
    left = [(name, weights[name]) for name in among]
    return rng.choices([n for n, _ in left], [w for _, w in left])[0] if left else None


def as_is(record: Record, recipe: DialogueRecipe) -> Made:
    """The record's own conversations."""
    fits = [turn_tokens(turns, recipe.picture_tokens) <= recipe.max_tokens for turns in record.dialogues]
    kept = tuple(turns for turns, good in zip(record.dialogues, fits, strict=True) if good)
    return Made(kept, dropped=(TOO_LONG,) * fits.count(False))


def multi_turn(record: Record, recipe: DialogueRecipe, words: Wordings, rng: random.Random) -> Made:
    """All questions in one language, in an order of the seed's, cut into conversations."""
    spec = recipe.strategies.multi_turn
    assert spec is not None
    language = pick_language(_joinable(record, spec.turns[0]), rng)
    asked = exchanges(record, language, words, rng)["ask"]
    rng.shuffle(asked)
    made, dropped = _cut(record.images[:1], asked, spec.turns, recipe, rng)
    return Made(made, language, dropped)


def several_tasks(record: Record, recipe: DialogueRecipe, words: Wordings, rng: random.Random) -> Made:
    """One conversation with kinds of questions in turn; often it begins with what the picture shows."""
    spec = recipe.strategies.several_tasks
    assert spec is not None
    found = {name: count for name, count in languages_of(record).items() if len(kinds_of(record, name)) > 1}
    language = pick_language(found, rng)
    by_kind = exchanges(record, language, words, rng)
    order = list(by_kind)
    rng.shuffle(order)
    if rng.random() < 0.5:
        order.sort(key=lambda kind: kind not in ("describe", "grounded"))
    if "describe" in order and "grounded" in order:  # both would say the same
        order.remove(rng.choice(("describe", "grounded")))
    for some in by_kind.values():
        rng.shuffle(some)
    wanted = max(2, rng.randint(*spec.turns))
    images = record.images[:1]
    asked, dropped = short_enough(images, in_turn([by_kind[kind] for kind in order], wanted), recipe)
    made = conversation(images, fitting(images, asked, recipe))
    return Made((made,) if made else (), language, dropped)


def in_turn(choices: Sequence[Sequence[Exchange]], count: int) -> list[Exchange]:
    """The first of each choice, then the second of each, up to `count`."""
    longest = max(map(len, choices), default=0)
    return [some[i] for i in range(longest) for some in choices if i < len(some)][:count]


def kinds_of(record: Record, language: Language) -> set[Kind]:
    """Which kinds of questions a record has in a language; a caption with and without places is one."""
    found: set[Kind] = set()
    if any(c.language == language for c in record.captions):
        found.add("describe")
    if questions(record, language):
        found.add("ask")
    for phrase in record.phrases:
        if phrase.language == language and phrase.boxes:
            found |= {"what"} if phrase.description else set()
            found |= {"where"} if phrase.referring or phrase.description is None else set()
    return found | ({"read"} if record.lines else set())


def pick_language(counts: dict[Language, int], rng: random.Random) -> Language:
    """A language, more likely the more annotations are in it."""
    return rng.choices(list(counts), list(counts.values()))[0]


def fitting(images: Sequence[Image], asked: Iterable[Exchange], recipe: DialogueRecipe) -> list[Exchange]:
    """The exchanges that fit into one conversation of `max_tokens`, in order."""
    used = turn_tokens((), recipe.picture_tokens) + tokens(images, recipe.picture_tokens)
    kept: list[Exchange] = []
    for exchange in asked:
        size = 10 + tokens((*exchange.question, *exchange.answer), recipe.picture_tokens)
        if used + size <= recipe.max_tokens:
            kept.append(exchange)
            used += size
    return kept


def short_enough(
    images: Sequence[Image], asked: Sequence[Exchange], recipe: DialogueRecipe
) -> tuple[list[Exchange], tuple[str, ...]]:
    """The exchanges that fit into a conversation alone, and why the others are dropped."""
    fits = [exchange for exchange in asked if fitting(images, [exchange], recipe)]
    return fits, (TOO_LONG,) * (len(asked) - len(fits))


def _cut(
    images: Sequence[Image],
    asked: Sequence[Exchange],
    turns: tuple[int, int],
    recipe: DialogueRecipe,
    rng: random.Random,
) -> tuple[tuple[tuple[Turn, ...], ...], tuple[str, ...]]:
    """Conversations of a drawn number of exchanges; what no longer fits into one begins the next."""
    left, dropped = short_enough(images, asked, recipe)
    made: list[tuple[Turn, ...]] = []
    while left:
        kept = fitting(images, left[: rng.randint(*turns)], recipe)
        made.append(conversation(images, kept))
        taken = set(map(id, kept))
        left = [exchange for exchange in left if id(exchange) not in taken]
    return tuple(made), dropped


def _joinable(record: Record, least: int) -> dict[Language, int]:
    """The languages in which a record has questions enough for a conversation, with their number."""
    if not record.images:
        return {}
    counts = {name: len(questions(record, name)) for name in languages_of(record)}
    return {name: count for name, count in counts.items() if count >= max(1, least)}
