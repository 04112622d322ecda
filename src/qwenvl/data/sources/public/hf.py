"""Any Hugging Face dataset folder whose tables hold the pictures, by the names of its columns: Parquet, Arrow, or tars.

Columns that are not named are looked for under the names that the hub's copies of the well-known sets have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qwenvl.data.pair import Pair
from qwenvl.data.sources.fields import language_of, list_of, shown, text_of
from qwenvl.data.sources.pairs import arrow, parquet
from qwenvl.data.sources.pairs.listing import list_units
from qwenvl.data.sources.pairs.read import read_unit
from qwenvl.data.sources.pairs.unit import USUAL, Columns, Unit
from qwenvl.data.sources.public.entry import LETTERS, At, Entry, Question, xywh, xyxy
from qwenvl.data.sources.public.question import most_confident, words_of
from qwenvl.data.sources.public.reading import Reading, Row
from qwenvl.data.sources.public.registry import Format, Option, Options
from qwenvl.data.sources.public.text_in_picture import Line, page, quad_of
from qwenvl.data.sources.public.vqa import answers_from
from qwenvl.data.sources.report import DataError, RowError, Spot
from qwenvl.sample import Caption, Phrase

_USUAL: Mapping[str, tuple[str, ...]] = {
    "caption": (),
    "question": ("question", "query"),
    "answer": ("answers", "answer", "label"),
    "choices": ("choices", "options"),
    "context": ("hint",),
    "qa": ("texts", "conversations", "qa"),
    "phrase": (),
    "box": ("bbox",),
    "lines": (),
    "quads": (),
}
"""What a column may hold, and under which names it is looked for."""

_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "model")


def entries(path: Path, options: Options, reading: Reading) -> Iterator[Entry]:
    """An entry a row, its picture's bytes with it (of several the first).

    Raises DataError where there are no pictures, or a named column is not there.
    """
    columns = _columns(path, options)
    for unit in list_units(str(path), columns=columns):
        for number, pair in enumerate(read_unit(unit, columns), start=1):
            at = At(unit.path, Spot(0, number))
            with reading.row(at):
                if not isinstance(pair, Pair):
                    raise RowError("image" if "picture" in pair.why else "", f"{pair.why}: {pair.detail}")
                yield _entry(pair, _row(pair, columns), unit, at, options)


def _columns(path: Path, options: Options) -> Columns:
    """The columns as the readers of pairs want them: any column of texts stands for their caption where the usual one
    holds lists.
    """
    import pyarrow.types as types

    image, caption = str(options["image"]), ""
    for unit in list_units(str(path), columns=Columns(image=image)):
        if unit.kind not in ("parquet", "arrow"):
            break
        schema = parquet.schema_of(unit.path) if unit.kind == "parquet" else arrow.schema_of(unit.path)
        if schema is None:
            continue
        texts = [f.name for f in schema if types.is_string(f.type) or types.is_large_string(f.type)]
        usual = next((name for name in USUAL["caption"] if name in schema.names), "")
        caption = usual if usual in texts or not texts else texts[0]
        for what in _USUAL:
            if options[what] and options[what] not in schema.names:
                raise DataError(
                    f"{unit.path}: no column {options[what]!r} for {what}=; its columns are {', '.join(schema.names)}"
                )
        break
    return Columns(image=image, caption=caption)


def _row(pair: Pair, columns: Columns) -> Row:
    """The row as it is in the table, without the picture."""
    row = dict(pair.meta)
    if pair.caption is not None:
        # of tars and lines it is not told which of the usual fields it was, so it answers to all of them
        for name in (columns.caption,) if columns.caption else USUAL["caption"]:
            row.setdefault(name, pair.caption)
    return row


def _entry(pair: Pair, row: Row, unit: Unit, at: At, options: Options) -> Entry:
    names = {what: str(options[what]) or next((n for n in _USUAL[what] if n in row), "") for what in _USUAL}
    if names["lines"]:
        return page(pair.id, (pair.image,), at, _lines(row, names["lines"], names["quads"]), _split(unit))
    entry = Entry(
        id=pair.id,
        image=pair.image,
        at=at,
        split=_split(unit),
        captions=_captions(row, names["caption"]) if names["caption"] else (),
        questions=tuple(_questions(row, names, pair.id, options["reads_text"] is True)),
        phrases=_phrases(row, names, str(options["boxes"])) if names["phrase"] else (),
    )
    if not (entry.captions or entry.questions or entry.phrases):
        raise RowError("", f"no column to learn from is named; there are {', '.join(map(str, list(row)[:20]))}")
    return entry


def _split(unit: Unit) -> str:
    """Of "data/train-00000-of-00010.parquet": train."""
    return Path(unit.path).name.partition("-")[0].partition(".")[0]


def _captions(row: Row, name: str) -> tuple[Caption, ...]:
    given = row.get(name)
    texts = given if isinstance(given, list) else [given]
    found = (words_of(text, name).strip() for text in texts)
    return tuple(Caption(text, language_of({}, text)) for text in found)


def _questions(row: Row, names: Mapping[str, str], id: str, reads_text: bool) -> Iterator[Question]:
    if names["question"] and (names["answer"] or row.get(names["question"]) is not None):
        yield _question(row, names, id, reads_text)
    elif names["qa"]:
        for index, (question, answer) in enumerate(_turns(list_of(row, names["qa"]), names["qa"])):
            text, words = text_of({"question": question}, "question").strip(), text_of({"answer": answer}, "answer")
            yield Question(text, words.strip(), (words.strip(),), f"{id}-{index}", reads_text=reads_text)


def _question(row: Row, names: Mapping[str, str], id: str, reads_text: bool) -> Question:
    text = text_of(row, names["question"]).strip()
    choices = tuple(words_of(c, names["choices"]) for c in row.get(names["choices"]) or ()) if names["choices"] else ()
    context = row.get(names["context"])
    told = context.strip() if isinstance(context, str) else ""
    given = row.get(names["answer"])
    if choices and given is not None:
        letter = _letter(given, choices, names["answer"])
        return Question(text, letter, (letter,), id, choices, reads_text, context=told)
    if given is None or given == []:
        return Question(text, id=id, choices=choices, reads_text=reads_text, context=told)
    listed = given if isinstance(given, list) else [words_of(given, names["answer"])]
    answers = answers_from({"answers": listed})
    best = row.get("multiple_choice_answer")
    learnt = most_confident(answers, best if isinstance(best, str) else "")
    return Question(text, learnt, tuple(answer.text for answer in answers), id, (), reads_text, context=told)


def _letter(given: Any, choices: tuple[str, ...], name: str) -> str:
    """The letter of the right choice, which is given as its place from 0, as a letter, or in words. Raises RowError."""
    if isinstance(given, str) and given in choices:
        return LETTERS[choices.index(given)]
    if isinstance(given, str) and len(given) == 1 and given in LETTERS[: len(choices)]:
        return given
    place = int(given) if isinstance(given, str) and len(given) < 3 and given.isascii() and given.isdigit() else given
    if type(place) is not int or not 0 <= place < len(choices) <= len(LETTERS):
        raise RowError(name, f"{shown(given)} is none of the {len(choices)} choices")
    return LETTERS[place]


def _turns(items: list[Any], name: str) -> Iterator[tuple[Any, Any]]:
    """Questions and answers of a list: question/answer, user/assistant, or turns of from/value or role/content."""
    asked: Any = None
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise RowError(f"{name}[{index}]", f"expected an object, not {shown(item)}")
        who = item.get("from", item.get("role"))
        words = item.get("value", item.get("content"))
        if who in _HUMAN and isinstance(words, str):
            asked = words.replace("<image>", "")
        elif who in _MODEL and asked is not None:
            yield asked, words
            asked = None
        elif who is None:
            yield item.get("question", item.get("user")), item.get("answer", item.get("assistant"))


def _phrases(row: Row, names: Mapping[str, str], form: str) -> tuple[Phrase, ...]:
    if not names["box"]:
        raise RowError("box", "missing: name the column of the phrase's box with box=")
    given, box = row.get(names["phrase"]), row.get(names["box"])
    boxes = box if isinstance(box, list) and box and isinstance(box[0], list) else [box]
    found = tuple((xywh if form == "xywh" else xyxy)(one, names["box"]) for one in boxes)
    texts = given if isinstance(given, list) else [given]
    words = (words_of(text, names["phrase"]).strip() for text in texts)
    return tuple(Phrase(text, found, language_of({}, text)) for text in words)


def _lines(row: Row, words: str, quads: str) -> Iterator[Line]:
    if not quads:
        raise RowError("quads", "missing: name the column of the lines' corners with quads=")
    texts, places = list_of(row, words), list_of(row, quads)
    if len(texts) != len(places):
        raise RowError(quads, f"{len(places)} for {len(texts)} lines")
    for index, (text, place) in enumerate(zip(texts, places, strict=True)):
        if not isinstance(text, str):
            raise RowError(f"{words}[{index}]", f"expected a text, not {shown(text)}")
        yield Line(text, quad_of(place, f"{quads}[{index}]"))


_ABOUT = {
    "caption": "column of captions (a text or a list)",
    "question": "column of questions",
    "answer": "column of answers: a text, a number, a list of them or of annotators' answers; of choices the right one",
    "choices": "column of choices (a list)",
    "context": "column of what is told before the question",
    "qa": "column of several questions and answers, or turns (a list of objects)",
    "phrase": "column of phrases that name what is in the box",
    "box": "column of the phrase's box or boxes, in pixels",
    "lines": "column of the lines of text in the picture (a list)",
    "quads": "column of the lines' boxes or corners, in pixels",
}
FORMATS = [
    Format(
        "hf",
        "a dataset folder from huggingface.co with its pictures in Parquet, Arrow or tars",
        entries,
        {
            "image": Option("", "column of pictures; default: the one that holds pictures"),
            **{
                what: Option("", about + (f"; default: {' or '.join(_USUAL[what])}" if _USUAL[what] else ""))
                for what, about in _ABOUT.items()
            },
            "boxes": Option("xyxy", "how boxes are written", ("xyxy", "xywh")),
            "reads_text": Option(False, "the questions need reading"),
        },
    )
]
