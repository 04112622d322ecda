"""Irregular patterns in captions, taken out by a list that anybody can extend (paper, appendix A.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import ClassVar

import yaml

from qwenvl.data.clean.rule import Change, Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError, from_dict

LONGEST = 10_000
"""Captions of more characters are not cleaned but dropped: no caption is so long, and patterns take time."""

_PASSES = 8
_LETTERS = re.compile("[a-z]+")
_DIGITS = re.compile("[0-9]{3,}")
# what is left dangling where something was taken out
_ENDS = " \t|-–—_:：,，、;；/\\•·»«>&+=~*#"
_STARTS = _ENDS.replace("#", "") + ".。!！?？…)）]】"


@dataclass(frozen=True)
class Entry:
    """One entry of the list; see `assets/clean_patterns.yaml` for what its keys mean."""

    name: str
    pattern: str | None = None
    phrases: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    digits: int = 0
    apart: bool = False
    replace: str = ""

    def compiled(self, where: str) -> re.Pattern[str]:
        """Its expression; raises ConfigError naming `where`."""
        if (self.pattern is None) == (not self.phrases):
            raise ConfigError(f"{where} ({self.name}): give either a 'pattern' or 'phrases'")
        try:
            expression = re.compile(self.pattern or _phrases(self.phrases, self.apart), re.IGNORECASE)
            expression.sub(self.replace, "")  # wrong groups in the replacement are found here, not at the first match
        except re.error as error:
            raise ConfigError(f"{where} ({self.name}): not a regular expression ({error})") from error
        return expression


class Index:
    """The entries of a list, so arranged that a caption without any of them costs a few looks.

    A need of letters is looked up among the caption's runs of letters, all at once; others are searched.
    """

    def __init__(self, entries: Sequence[tuple[Entry, re.Pattern[str]]]) -> None:
        self.entries = entries
        self.always = [number for number, (entry, _) in enumerate(entries) if not entry.needs]
        needs = [(need.lower(), number) for number, (entry, _) in enumerate(entries) for need in entry.needs]
        self.words = _gather(pair for pair in needs if _LETTERS.fullmatch(pair[0]))
        self.signs = _gather(pair for pair in needs if pair[0].isascii() and pair[0] not in self.words)
        self.others = _gather(pair for pair in needs if not pair[0].isascii())
        self.any_sign, self.any_other = _any(self.signs), _any(self.others)

    def present(self, text: str) -> list[tuple[Entry, re.Pattern[str]]]:
        """The entries that occur in the text, in the list's order."""
        lower = text.lower()
        found = set(self.always)
        words = _LETTERS.findall(lower)
        if not self.words.keys().isdisjoint(words):
            found.update(number for word in self.words.keys() & set(words) for number in self.words[word])
        if self.any_sign.search(lower):
            found.update(number for need, numbers in self.signs.items() if need in lower for number in numbers)
        if not text.isascii() and self.any_other.search(lower):
            found.update(number for need, numbers in self.others.items() if need in lower for number in numbers)
        digits = max(map(len, _DIGITS.findall(lower)), default=0)
        candidates = [self.entries[number] for number in sorted(found)]
        return [pair for pair in candidates if pair[0].digits <= digits and pair[1].search(text)]


def _gather(needs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for need, number in needs:
        found.setdefault(need, []).append(number)
    return found


def _any(needs: Iterable[str]) -> re.Pattern[str]:
    # without any needs: what never matches
    return re.compile("|".join(map(re.escape, needs)) or r"(?!)")


@dataclass(frozen=True)
class Patterns(Rule):
    """ "Cleaning the text with certain unregular patterns": the names of those found, which are taken out.

    The list is the packaged `assets/clean_patterns.yaml`, or `file` in its place; `skip` leaves out entries by their
    names. What the patterns left dangling at either end goes too, and white space becomes single spaces. A caption of
    which nothing is left is dropped. Raises ConfigError for a list that can not be used.
    """

    name: ClassVar[str] = "patterns"

    file: str | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # read where the recipe is read, so that a rule sent to another machine carries the list with it
        _ = self.entries
        names = {entry.name for entry, _ in _read(self.file)}
        for name in self.skip:
            if name not in names:
                raise ConfigError(f"patterns.skip: there is no {name!r}; there are: {', '.join(sorted(names))}")

    @cached_property
    def entries(self) -> Index:
        """The entries of the list without those that `skip` names."""
        return Index([entry for entry in _read(self.file) if entry[0].name not in self.skip])

    def fingerprint(self) -> str:
        return hashlib.blake2b(repr([entry for entry, _ in self.entries.entries]).encode(), digest_size=8).hexdigest()

    def measure(self, pair: Pair) -> Value:
        text = pair.caption
        if not text:
            return ""
        if len(text) > LONGEST:
            return "length"
        found = dict.fromkeys(entry.name for entry, _ in self.entries.present(text))
        return ", ".join(found) if found else "spaces" if text != " ".join(text.split()) else ""

    def decide(self, pair: Pair, value: Value) -> Verdict:
        if not value or pair.caption is None:
            return None
        if len(pair.caption) > LONGEST:
            return Drop("text too long to clean")
        text = self.clean(pair.caption)
        if not text:
            return Drop("nothing but irregular patterns")
        return Change(text) if text != pair.caption else None

    def clean(self, text: str) -> str:
        """The text without its patterns; cleaning it again changes nothing. "" where nothing but patterns is left."""
        for _ in range(_PASSES):
            before = text
            for entry, expression in self.entries.present(text):
                text = expression.sub(entry.replace, text)
            if text != before:
                text = text.lstrip(_STARTS).rstrip(_ENDS)
            text = " ".join(text.split())
            if text == before:
                return text
        return ""


@cache
def _read(file: str | None) -> tuple[tuple[Entry, re.Pattern[str]], ...]:
    where = file or "clean_patterns.yaml"
    source = Path(file) if file else resources.files("qwenvl") / "assets" / "clean_patterns.yaml"
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"patterns.file: {where} can not be read ({error})") from error
    entries = from_dict(tuple[Entry, ...], data, where)
    return tuple((entry, entry.compiled(f"{where}[{number}]")) for number, entry in enumerate(entries))


def _phrases(phrases: tuple[str, ...], apart: bool) -> str:
    """Any of the phrases as a whole, the longest that fits, with brackets around it and a full stop behind.

    One that ends in a Latin letter counts only where its sentence ends too: behind it stands punctuation, or nothing;
    with `apart` before it as well.
    """
    ordered = sorted(phrases, key=len, reverse=True)
    either = "|".join(f"{_edge(p[0])}{re.escape(p)}{_edge(p[-1])}{_END if _edge(p[-1]) else ''}" for p in ordered)
    before = r"(?:(?<=[^\w\s])|(?<=[^\w\s]\s)|^)" if apart else ""
    return rf"{before}[(\[（【]?\s?(?:{either})[.:…!。：！]?(?:\s?[)\]）】])?"


_END = r"(?=\s{0,5}(?:[^\w\s]|$))"


def _edge(character: str) -> str:
    return r"\b" if character.isascii() and character.isalnum() else ""
