"""A record's annotations as questions and answers of a conversation, by kind."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qwenvl.data.clean.rules.script import count_han, language_of
from qwenvl.data.dialogues.wordings import Wordings
from qwenvl.sample import QA, Caption, Image, Language, Part, Phrase, Record, Region, Text, Turn
from qwenvl.tasks.grounding import answer as grounded_answer

Kind = Literal["describe", "grounded", "ask", "where", "what", "read", "compare", "common", "which", "both"]
"""What a question is after. The last four are about several pictures."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer. Regions count the conversation's pictures from 0."""

    kind: Kind
    question: tuple[Part, ...]
    answer: tuple[Part, ...]


def exchanges(
    record: Record, language: Language, words: Wordings, rng: random.Random, number: int | None = None
) -> dict[Kind, list[Exchange]]:
    """All that can be asked about a record's first picture in a language; kinds without any are left out.

    `number` is the picture's in a conversation of several, from 1; questions name it then. The longest caption is
    taken, and of those with places the one with most (the others would only say the same again).
    """
    asker = _Asker(record, language, words, rng, number)
    found: dict[Kind, list[Exchange]] = {
        "describe": asker.describe(),
        "grounded": asker.grounded(),
        "ask": asker.ask(),
        "where": asker.where(),
        "what": asker.what(),
        "read": asker.read(),
    }
    return {kind: some for kind, some in found.items() if some}


def languages_of(record: Record) -> dict[Language, int]:
    """How many annotations a record has in each language; its text lines count where it has nothing else."""
    found: dict[Language, int] = {}
    items: tuple[Caption | QA | Phrase, ...] = (*record.captions, *record.qas, *record.phrases)
    for item in items:
        found[item.language] = found.get(item.language, 0) + 1
    for question, answer in single_exchanges(record):
        language = _said_in((*question, *answer))
        found[language] = found.get(language, 0) + 1
    if not found and record.lines:
        found[language_of(" ".join(line.text for line in record.lines))] = len(record.lines)
    return found


def questions(record: Record, language: Language) -> list[tuple[tuple[Part, ...], tuple[Part, ...]]]:
    """The questions about a record's picture with their answers, each once: its own, and conversations of one alone."""
    own = [((Text(qa.question),), (Text(qa.answer),)) for qa in record.qas if qa.language == language]
    told = [pair for pair in single_exchanges(record) if _said_in((*pair[0], *pair[1])) == language]
    found: dict[tuple[Part, ...], tuple[Part, ...]] = {}
    for question, answer in (*own, *told):
        found.setdefault(question, answer)
    return list(found.items())


def single_exchanges(record: Record) -> list[tuple[tuple[Part, ...], tuple[Part, ...]]]:
    """The record's conversations that are one question about its one picture, which stands before it, and an answer."""
    found = []
    for turns in record.dialogues if len(record.images) == 1 else ():
        if [turn.role for turn in turns] != ["user", "assistant"] or not isinstance(turns[0].parts[0], Image):
            continue
        question, answer = turns[0].parts[1:], turns[1].parts
        if question and not any(isinstance(part, Image) for part in (*question, *answer)):
            found.append((question, answer))
    return found


def said_in(turns: Iterable[Turn]) -> Language:
    """The language of most of a conversation's words."""
    return _said_in(part for turn in turns for part in turn.parts)


def _said_in(parts: Iterable[Part]) -> Language:
    return language_of(" ".join(part.text for part in parts if isinstance(part, Text)))


def best_caption(record: Record, language: Language) -> Caption | None:
    """The longest caption in a language."""
    return max((c for c in record.captions if c.language == language), key=lambda c: len(c.text), default=None)


def sought(record: Record, language: Language) -> list[Phrase]:
    """The phrases whose place can be asked for; of several with the same words the first."""
    own = (p for p in record.phrases if p.language == language and p.boxes and (p.referring or p.description is None))
    return list({phrase.text: phrase for phrase in reversed(list(own))}.values())[::-1]


class _Asker:
    def __init__(
        self, record: Record, language: Language, words: Wordings, rng: random.Random, number: int | None
    ) -> None:
        self.record, self.language, self.words, self.rng, self.number = record, language, words, rng, number
        self.image = (number or 1) - 1

    def describe(self) -> list[Exchange]:
        caption = best_caption(self.record, self.language)
        return [self._made("describe", Text(caption.text))] if caption else []

    def grounded(self) -> list[Exchange]:
        captions = [c for c in self.record.captions if c.language == self.language and c.spans]
        if not captions:
            return []
        return [self._made("grounded", *grounded_answer(max(captions, key=lambda c: (len(c.spans), len(c.text)))))]

    def ask(self) -> list[Exchange]:
        return [self._made("ask", *said, question=asked) for asked, said in questions(self.record, self.language)]

    def where(self) -> list[Exchange]:
        found = sought(self.record, self.language)
        return [self._made("where", Region(p.text, p.boxes), it=p.text) for p in found]

    def what(self) -> list[Exchange]:
        own = [p for p in self.record.phrases if p.language == self.language and p.description and p.boxes]
        return [self._made("what", Text(p.description or ""), place=(Region(None, p.boxes),)) for p in own]

    def read(self) -> list[Exchange]:
        if not self.record.lines:
            return []
        return [self._made("read", *(Region(line.text, (), (line.quad,)) for line in self.record.lines))]

    def _made(self, kind: Kind, *answer: Part, **values: str | tuple[Part, ...]) -> Exchange:
        form = "one" if self.number is None else "numbered"
        numbered = {} if self.number is None else {"n": self.number}
        question = self.words.say(f"{kind}.{form}", self.language, self.rng, **values, **numbered)
        return Exchange(kind, self._placed(question), self._placed(answer))

    def _placed(self, parts: Iterable[Part]) -> tuple[Part, ...]:
        return tuple(replace(part, image=self.image) if isinstance(part, Region) else part for part in parts)


def conversation(images: Sequence[Image], asked: Iterable[Exchange]) -> tuple[Turn, ...]:
    """The turns of a conversation, the pictures before its first question. What is supervised `chatml` decides."""
    turns: list[Turn] = []
    for exchange in asked:
        shown = () if turns else tuple(images)
        turns += (Turn("user", (*shown, *exchange.question)), Turn("assistant", exchange.answer))
    return tuple(turns)


def tokens(parts: Iterable[Part], picture_tokens: int) -> int:
    """About how many tokens parts take, rather too many than too few.

    A corner of a box takes up to nine tokens, as Qwen's tokenizer takes digits one by one; English words are counted by
    3.5 letters a token, Chinese by the character.
    """
    count = 0
    for part in parts:
        if isinstance(part, Image):
            count += picture_tokens + 4
        elif isinstance(part, Text):
            count += _text_tokens(part.text)
        elif isinstance(part, Region):
            count += (2 + _text_tokens(part.phrase) if part.phrase is not None else 0) + 20 * len(part.boxes)
            count += 38 * len(part.quads)
    return count


def turn_tokens(turns: Iterable[Turn], picture_tokens: int) -> int:
    """About how many tokens a conversation takes, with the system's words and the control tokens."""
    return 12 + sum(5 + tokens(turn.parts, picture_tokens) for turn in turns)


def _text_tokens(text: str) -> int:
    chinese = count_han(text)
    return chinese + -(-2 * (len(text) - chinese) // 7)
