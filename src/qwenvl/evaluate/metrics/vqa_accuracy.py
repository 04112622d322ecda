"""VQA accuracy: an answer is right as far as three of the annotators gave it, in the three ways it is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

Mode = Literal["qwen", "official", "m4c"]

_NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), "0 0 1 2 3 4 5 6 7 8 9 10".split(), strict=True))  # fmt: skip
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ";/[]\"{}()=+\\_->@`,?!<"
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32
"""The evaluators pass a flag where a count belongs, so no more periods than this are taken away."""
_DIGIT_COMMA = re.compile(r"\d,\d")
_M4C_DIGIT_COMMA = re.compile(r"(?<=\d),+(?=\d)")

_SHORTENED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll
how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't
she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd
something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contractions() -> dict[str, str]:
    """Each shortened form with one of its apostrophes missing → the form."""
    found = {"somebody'd": "somebodyd"}
    for form in _SHORTENED.split():
        for place, character in enumerate(form):
            if character == "'":
                found[form[:place] + form[place + 1 :]] = form
    return found


_CONTRACTIONS = _contractions()


def vqa_accuracy(prediction: str, answers: Sequence[str], mode: Mode = "qwen") -> float:
    """The accuracy of an answer, in 0…1: the mean, over the annotators, of min(1, others who said the same / 3).

    * `qwen`: the evaluator in the Qwen-VL repository (eval_mm/vqa_eval.py, as in BLIP). The prediction is lower-cased
      and loses articles, number words become digits; the annotators' answers only lose punctuation, and that only where
      they differ. An annotator's "Red" or "the dog" is therefore never matched.
    * `official`: the VQA site's (visualqa.org, GT-Vision-Lab/VQA): both sides go through the same, and where all
      annotators agree, neither: the words must then be equal as they stand.
    * `m4c`: TextVQA's (MMF's m4c_evaluators): both sides always, commas and question marks first, "'s" apart.

    Raises ValueError without answers, and for another mode.
    """
    if mode not in ("qwen", "official", "m4c"):
        raise ValueError(f'mode is "qwen", "official" or "m4c", not {mode!r}')
    if not answers:
        raise ValueError("vqa_accuracy needs the annotators' answers: none were given")
    said, true = _MODES[mode](prediction, list(answers))
    same = [answer == said for answer in true]
    total = sum(same)
    return sum(min(1.0, (total - own) / 3) for own in same) / len(same)


def _qwen(prediction: str, answers: list[str]) -> tuple[str, list[str]]:
    if len(set(answers)) > 1:
        answers = [_without_punctuation(answer) for answer in answers]
    return _plain(_without_punctuation(_one_line(prediction))), answers


def _official(prediction: str, answers: list[str]) -> tuple[str, list[str]]:
    prediction, answers = _one_line(prediction), [_one_line(answer) for answer in answers]
    if len(set(answers)) > 1:
        return _plain(_without_punctuation(prediction)), [_plain(_without_punctuation(answer)) for answer in answers]
    return prediction, answers


def _m4c(prediction: str, answers: list[str]) -> tuple[str, list[str]]:
    return m4c_normalise(prediction), [m4c_normalise(answer) for answer in answers]


_MODES: dict[str, Callable[[str, list[str]], tuple[str, list[str]]]] = {
    "qwen": _qwen,
    "official": _official,
    "m4c": _m4c,
}


def m4c_normalise(text: str) -> str:
    """An answer as M4C's evaluator compares it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _plain(_without_punctuation(_one_line(text), _M4C_DIGIT_COMMA))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str, digit_comma: re.Pattern[str] = _DIGIT_COMMA) -> str:
    """Marks beside a space go, others become one; all go where a comma stands between digits; then periods."""
    number = digit_comma.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        beside_space = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if beside_space or number else " ")
    return _PERIOD.sub("", out, count=_MOST_PERIODS)


def _plain(text: str) -> str:
    """Lower case, number words as digits, no articles, apostrophes where they belong."""
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
