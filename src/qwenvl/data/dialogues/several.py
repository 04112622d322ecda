"""Conversations about several pictures: which belong together, comparisons, and questions about one by its number."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from qwenvl.data.dialogues.exchanges import (
    Exchange,
    Kind,
    best_caption,
    conversation,
    exchanges,
    languages_of,
    sought,
)
from qwenvl.data.dialogues.recipe import DialogueRecipe
from qwenvl.data.dialogues.strategies import Made, fitting, in_turn, pick_language, short_enough
from qwenvl.data.dialogues.wordings import Wordings
from qwenvl.sample import Caption, Language, Part, Phrase, Record, Text

NEAR = 32
"""Among so many pictures the one with most words in common is chosen."""

_APART = 0.34
"""Captions that share more of their words may fit each other's picture."""

_WORD = re.compile(r"[a-z]{3,}|[\u3400-\u9fff]")
_PLAIN = frozenset(
    ("the", "and", "with", "are", "for", "this", "that", "there", "from", "his", "her", "its", "one", "two", "some")
)


def groups(
    records: Sequence[Record], recipe: DialogueRecipe, rng: random.Random
) -> list[tuple[Language, list[Record]]]:
    """Records in groups of one language that have something in common, each once; fewer than a group may be left."""
    spec = recipe.strategies.several_pictures
    assert spec is not None
    found = []
    by_language: dict[Language, list[Record]] = {}
    for record in records:
        by_language.setdefault(pick_language(languages_of(record), rng), []).append(record)
    for language, left in sorted(by_language.items()):
        rng.shuffle(left)
        words = {id(record): words_of(record, language) for record in left}
        while len(left) >= spec.pictures[0]:
            count = min(rng.randint(*spec.pictures), len(left))
            group = [left.pop(0)]
            while len(group) < count:
                shared = [len(words[id(group[0])] & words[id(record)]) for record in left[:NEAR]]
                group.append(left.pop(shared.index(max(shared))))
            found.append((language, group))
    return found


def several_pictures(
    group: Sequence[Record], language: Language, recipe: DialogueRecipe, words: Wordings, rng: random.Random
) -> Made:
    """One conversation about a group of pictures: first what takes all of them, then questions about one."""
    spec = recipe.strategies.several_pictures
    assert spec is not None
    images = [record.images[0] for record in group]
    about_all = _about_all(group, language, words, rng)
    rng.shuffle(about_all)
    about_one: list[list[Exchange]] = []
    for number, record in enumerate(group, start=1):
        by_kind = exchanges(record, language, words, rng, number)
        about_one += [rng.sample(some, len(some)) for some in by_kind.values()]
    rng.shuffle(about_one)
    first = about_all[: rng.randint(1, 2)]
    asked, dropped = short_enough(images, [*first, *in_turn(about_one, 2 * spec.turns[1])], recipe)
    made = conversation(images, fitting(images, asked, recipe)[: rng.randint(*spec.turns)])
    return Made((made,) if made else (), language, dropped)


def words_of(record: Record, language: Language) -> frozenset[str]:
    """The words of a record's captions, phrases and questions, of Chinese the characters."""
    items: tuple[Caption | Phrase, ...] = (*record.captions, *record.phrases)
    texts = [item.text for item in items if item.language == language]
    return _words(" ".join([*texts, *(qa.question for qa in record.qas if qa.language == language)]))


def _about_all(group: Sequence[Record], language: Language, words: Wordings, rng: random.Random) -> list[Exchange]:
    captions = [best_caption(record, language) for record in group]
    told = [caption.text for caption in captions if caption is not None]
    found: list[Exchange] = []
    if len(told) == len(group):
        found.append(_each("compare", told, language, words, rng))
    number = int(rng.random() * len(group))
    caption = captions[number]
    if caption is not None and len(told) == len(group) and _alone(told, number):
        question = words.say("which.numbered", language, rng, it=caption.text)
        found.append(Exchange("which", question, words.say("answers.picture", language, rng, n=number + 1)))
    shared = _shared([{phrase.text for phrase in sought(record, language)} for record in group])
    if shared:
        question = words.say("common.numbered", language, rng)
        found.append(Exchange("common", question, words.say("answers.all", language, rng, it=rng.choice(shared))))
    answers = [{qa.question: qa.answer for qa in record.qas if qa.language == language} for record in group]
    same = _shared([set(some) for some in answers])
    if same:
        asked = rng.choice(same)
        found.append(_each("both", [some[asked] for some in answers], language, words, rng, question=asked))
    return found


def _each(
    kind: Kind, told: Sequence[str], language: Language, words: Wordings, rng: random.Random, **values: str
) -> Exchange:
    """A question for all pictures, answered picture by picture, a line each."""
    answer: list[Part] = []
    for number, text in enumerate(told, start=1):
        answer += [Text("\n")] if answer else []
        answer += words.say("answers.each", language, rng, n=number, it=text)
    return Exchange(kind, words.say(f"{kind}.numbered", language, rng, **values), tuple(answer))


def _shared(found: Sequence[set[str]]) -> list[str]:
    return sorted(set.intersection(*found)) if found else []


def _alone(told: Sequence[str], number: int) -> bool:
    """Whether a caption says what no other caption of the group does."""
    own = _words(told[number])
    others = (_words(text) for i, text in enumerate(told) if i != number)
    return bool(own) and all(len(own & other) <= _APART * min(len(own), len(other) or 1) for other in others)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _PLAIN
