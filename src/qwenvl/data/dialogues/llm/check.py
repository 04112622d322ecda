"""Whether a language model's answer may be trained on: its form, its places, its language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from qwenvl.data.clean.rules.script import count_han, kind, language_of
from qwenvl.data.dialogues.llm.cache import Reply
from qwenvl.data.dialogues.llm.prompt import Task
from qwenvl.sample import Box, Language, Part, Quad, Region, Text, Turn
from qwenvl.text.geometry import BoxCells, QuadCells, box_from_grid, quad_from_grid
from qwenvl.text.markup import RegionSpan, TextSpan, format_spans, parse

LONGEST_QUESTION, LONGEST_ANSWER = 1000, 8000
"""Characters."""

_LONGEST = 1 << 16
_MOST_TURNS = 20

_SPEAKS_OF_NOTES = re.compile(
    r"\b(captions?|bounding box(?:es)?|coordinates?|annotations?|the notes?|(?:provided|given) (?:information|text|"
    r"description|context|data))\b|标注|坐标|边界框|说明文字|(?:根据|给出的|提供的)(?:描述|信息|文本|笔记)|笔记",
    re.IGNORECASE,
)
_FUNCTION_WORDS = """
the of and to are it this that with what where which how there has is does can on at who why
"""
_ENGLISH = frozenset(_FUNCTION_WORDS.split())
_ENOUGH_WORDS, _ENGLISH_SHARE = 8, 0.08


class Rejected(Exception):
    """An answer is not kept; `why` is short, for counting."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def turns_of(reply: Reply, task: Task, inside: bool) -> tuple[Turn, ...]:
    """The conversation in a reply, with the picture before its first question. Raises Rejected.

    A place is one of the task's, in its exact pixels; with `inside` any place in the picture with an area.
    """
    if reply.finish == "length":
        raise Rejected("cut off at max_tokens")
    if reply.finish == "content_filter":
        raise Rejected("held back by the endpoint's filter")
    turns: list[Turn] = []
    said: list[str] = []
    for question, answer in _pairs(reply.text, task):
        shown = () if turns else (task.image,)
        turns.append(Turn("user", (*shown, *_parts(question, task, inside))))
        turns.append(Turn("assistant", _parts(answer, task, inside)))
        said += [_words(turns[-2].parts, task), _words(turns[-1].parts, task)]
    _check_language(said, task.language)
    _check_words(turns, task)
    return tuple(turns)


def _pairs(text: str, task: Task) -> list[tuple[str, str]]:
    """Questions and answers as they are written; reasoning stands before its answer."""
    found = _json(text)
    turns = found.get("turns") if isinstance(found, dict) else None
    if not isinstance(turns, list) or not turns:
        raise Rejected("no list of turns")
    if len(turns) > _MOST_TURNS:
        raise Rejected("too many turns")
    pairs = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise Rejected("a turn is no object")
        answer = _text(turn, "answer", LONGEST_ANSWER)
        if task.form == "reasoning":
            answer = f"{_text(turn, 'reasoning', LONGEST_ANSWER)}\n{answer}"
        pairs.append((_text(turn, "question", LONGEST_QUESTION), answer))
    if len({question for question, _ in pairs}) < len(pairs):
        raise Rejected("a question is asked twice")
    return pairs


def _json(text: str) -> Any:
    """The JSON object in an answer, which may stand in a fence or between words."""
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin:
        raise Rejected("no JSON")
    if end - begin > _LONGEST:
        raise Rejected("too long")
    try:
        return json.loads(text[begin : end + 1], strict=False)
    except (ValueError, RecursionError):
        raise Rejected("broken JSON") from None


def _text(turn: dict[str, Any], name: str, longest: int) -> str:
    value = turn.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Rejected(f"no {name}")
    if len(value) > longest:
        raise Rejected(f"{name} too long")
    if any("\ud800" <= character <= "\udfff" or (character < " " and character not in "\n\t") for character in value):
        raise Rejected("characters that are none")
    return value.strip()


def _parts(text: str, task: Task, inside: bool) -> tuple[Part, ...]:
    """Words and places. Raises Rejected for tags that are not well formed, and for places that do not exist."""
    spans = parse(text)
    if format_spans(spans) != text:
        raise Rejected("a place or tag is not well formed")
    parts: list[Part] = []
    for span in spans:
        if isinstance(span, TextSpan):
            parts.append(Text(span.text))
        elif isinstance(span, RegionSpan):
            boxes = tuple(_box(cells, task, inside) for cells in span.boxes)
            quads = tuple(_quad(cells, task, inside) for cells in span.quads)
            if not (boxes or quads) or (span.phrase is not None and not span.phrase.strip()):
                raise Rejected("a name without a place, or a place without a name")
            parts.append(Region(span.phrase, boxes, quads))
        else:
            raise Rejected("a place or tag is not well formed")
    return tuple(parts)


def _box(cells: BoxCells, task: Task, inside: bool) -> Box:
    if cells in task.boxes:
        return task.boxes[cells]
    if not inside:
        raise Rejected("a box that is not among the given ones")
    if cells[0] >= cells[2] or cells[1] >= cells[3]:
        raise Rejected("a box without area")
    return box_from_grid(cells, task.image.width, task.image.height)


def _quad(cells: QuadCells, task: Task, inside: bool) -> Quad:
    if cells in task.quads:
        return task.quads[cells]
    if not inside:
        raise Rejected("a quad that is not among the given ones")
    if len({cells[i : i + 2] for i in range(0, 8, 2)}) < 4:
        raise Rejected("a quad without area")
    return quad_from_grid(cells, task.image.width, task.image.height)


def _words(parts: Iterable[Part], task: Task) -> str:
    """What is said, without the names and texts of the notes, which may be in another language."""
    text = "".join(part.text if isinstance(part, Text) else " " for part in parts)
    for known in sorted(task.known, key=len, reverse=True):
        if language_of(known) != task.language or not known.isascii():
            text = text.replace(known, " ")
    return text


def _check_language(said: list[str], language: Language) -> None:
    whole = " ".join(said)
    if any(kind(character) == "foreign" for character in whole if character not in "\n\t"):
        raise Rejected("not in the language asked for")
    if language == "zh":
        # each question by itself; answers may be a number or a name
        if not count_han(whole) or any(language_of(text) != "zh" for text in said[::2] if text.strip()):
            raise Rejected("not in the language asked for")
        answers = " ".join(said[1::2])
        if any(c.isalpha() for c in answers) and language_of(answers) != "zh":
            raise Rejected("not in the language asked for")
        return
    words = re.findall(r"[a-z']+", whole.lower())
    few = sum(word in _ENGLISH for word in words) < _ENGLISH_SHARE * len(words)
    if any(language_of(text) == "zh" for text in said) or (len(words) >= _ENOUGH_WORDS and few):
        raise Rejected("not in the language asked for")


def _check_words(turns: Iterable[Turn], task: Task) -> None:
    """Nobody who sees a picture speaks of its notes, unless such a word is in the picture."""
    known = " ".join(task.known).lower()
    for turn in turns:
        text = "".join(part.text for part in turn.parts if isinstance(part, Text))
        if any(match[0].lower() not in known for match in _SPEAKS_OF_NOTES.finditer(text)):
            raise Rejected("speaks of the notes")
