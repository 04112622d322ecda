"""Where the words of documents come from: the user's text files, or sentences made here that need no download."""

from __future__ import annotations

import functools
import hashlib
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from qwenvl.sample import Language

_WINDOW = 4096
_BLANK = re.compile(r"\{(\w+)\}")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_END = {"en": re.compile(r"(?<=[.!?])[”’\"')]*\s+"), "zh": re.compile("(?<=[。！？])(?![”’」』）])")}


_WORDS = Path(__file__).parents[2] / "assets" / "document_words.yaml"


class TextError(ValueError):
    """A file of text can not be used; the message says why."""


class TextSource(Protocol):
    """Gives text of one line of thought at a time."""

    @property
    def languages(self) -> tuple[Language, ...]:
        """Those that it has text in."""

    def sentences(self, rng: random.Random, language: Language, count: int) -> list[str]:
        """About `count` sentences that follow one another; none where the source finds none."""

    def heading(self, rng: random.Random, language: Language) -> str:
        """A few words; may be empty."""

    def pair(self, rng: random.Random, language: Language) -> tuple[str, str]:
        """A label and a value, for rows of tables."""


@dataclass(frozen=True)
class Sentences:
    """The sentences of `assets/document_words.yaml`, filled in, and now and then characters that they lack."""

    languages: tuple[Language, ...] = ("en", "zh")

    def sentences(self, rng: random.Random, language: Language, count: int) -> list[str]:
        """As in `TextSource`."""
        made = [_filled(rng.choice(_given()["sentences"][language]), rng, language) for _ in range(count)]
        # every common hanzi, digit and mark has to be seen, and the sentences hold some hundreds
        if rng.random() < 0.25:
            made[rng.randrange(count)] = rare(rng, language)
        return made

    def heading(self, rng: random.Random, language: Language) -> str:
        """As in `TextSource`."""
        found = _filled(rng.choice(_given()["headings"][language]), rng, language)
        return found.upper() if language == "en" and rng.random() < 0.15 else _capital(found)

    def pair(self, rng: random.Random, language: Language) -> tuple[str, str]:
        """As in `TextSource`."""
        label, value = rng.choice(_given()["labels"][language]), rng.choice(_given()["values"])
        return _capital(_filled(label, rng, language)), _filled(value, rng, language)


@dataclass(frozen=True)
class TextFiles:
    """UTF-8 text files: a place is drawn, and what stands there is read on from the next sentence.

    A few kilobytes are read at a time, so files may be of any size. `files` are (path, bytes, language).
    """

    files: tuple[tuple[str, int, Language], ...]

    @property
    def languages(self) -> tuple[Language, ...]:
        """Those of the files."""
        present = {language for _, _, language in self.files}
        return tuple(language for language in _LANGUAGES if language in present)

    def sentences(self, rng: random.Random, language: Language, count: int) -> list[str]:
        """As in `TextSource`."""
        files = [file for file in self.files if file[2] == language]
        path, size, _ = rng.choices(files, [size for _, size, _ in files])[0]
        # a few places: the first may be empty lines or one word without an end
        for _ in range(4):
            found = _read(path, rng.randrange(max(1, size - _WINDOW // 2)), language)
            if found:
                return found[:count]
        return []

    def heading(self, rng: random.Random, language: Language) -> str:
        """The beginning of a sentence, up to its first mark."""
        found = self.sentences(rng, language, 1)
        if not found:
            return ""
        if language == "zh":
            return re.split("[，。、；：？！“”（）《》…—\\s]", found[0].lstrip("“（《"))[0][:16]
        return " ".join(found[0].split()[: rng.randint(2, 6)]).rstrip(",;:.-—(“")

    def pair(self, rng: random.Random, language: Language) -> tuple[str, str]:
        """As in `TextSource`."""
        return self.heading(rng, language), _filled(rng.choice(_given()["values"]), rng, language)


_LANGUAGES: tuple[Language, ...] = ("en", "zh")


def open_texts(paths: Sequence[Path]) -> TextFiles:
    """Text files as a source; the language of each is told from its first characters. Raises TextError."""
    files = []
    for path in paths:
        if not path.is_file():
            raise TextError(f"{path}: there is no such text file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1 << 16)
        try:
            # a character may be cut at the end
            text = (head[: head.rfind(b"\n") + 1] or head).decode("utf-8", "strict" if size == len(head) else "ignore")
        except UnicodeDecodeError as error:
            raise TextError(f"{path}: not UTF-8 (byte {error.start}); convert it, such as with iconv") from None
        if b"\0" in head or not text.strip():
            raise TextError(f"{path}: holds no text; expected a plain text file in UTF-8")
        language = language_of(text)
        if not any(_read(str(path), place, language) for place in range(0, size, max(1, size // 16))):
            raise TextError(f"{path}: no sentences found; expected running text in English or Chinese")
        files.append((str(path), size, language))
    return TextFiles(tuple(files))


def fingerprint(source: TextSource) -> list[list[str | int]]:
    """What decides what a source gives: names, sizes and digests of its files."""
    found: list[list[str | int]] = []
    for path, size, language in source.files if isinstance(source, TextFiles) else ():
        digest = hashlib.blake2b(digest_size=8)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        found.append([Path(path).name, size, language, digest.hexdigest()])
    return found


def language_of(text: str) -> Language:
    """Chinese where a tenth of the characters are hanzi."""
    return "zh" if 10 * len(_HAN.findall(text)) > len(text) else "en"


def rare(rng: random.Random, language: Language) -> str:
    """A line of what running text seldom has: any of the common hanzi; codes, mails, marks."""
    if language == "zh":
        return "".join(rng.choices(_hanzi(), k=rng.randint(6, 24))) + rng.choice("。，；")
    kind = rng.randrange(4)
    words, number = _given()["words"]["en"], rng.randint(1, 999)
    word, other = rng.choice(words["thing"]), rng.choice(words["matter"])
    if kind == 0:
        return f"{word}.{other}{number}@example.{rng.choice(('com', 'org', 'net'))}"
    if kind == 1:
        return f"https://www.example.org/{word}/{other}-{number}.html"
    if kind == 2:
        return " ".join("".join(rng.choices(_CODES, k=rng.randint(3, 9))) for _ in range(rng.randint(2, 5)))
    return f"{word}[{rng.randint(0, 9)}] = {{{number} + {rng.randint(2, 99)} / x^2}} & ~{rng.randint(1, 9)}%;"


@functools.cache
def _given() -> Any:
    """The sentences, headings, labels and words that come with the package."""
    return yaml.safe_load(_WORDS.read_text(encoding="utf-8"))


def clean(text: str) -> str:
    """Text as it can be set: composed, white space single, without control and private characters."""
    composed = unicodedata.normalize("NFC", text)
    kept = (" " if c.isspace() else c for c in composed if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join("".join(kept).split())


_CODES = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789-/#"


@functools.cache
def _hanzi() -> str:
    """The 3,755 hanzi of GB 2312's first level."""
    cells = bytes(byte for row in range(16, 56) for cell in range(1, 95) for byte in (0xA0 + row, 0xA0 + cell))
    return cells.decode("gb2312", "ignore")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _filled(pattern: str, rng: random.Random, language: Language) -> str:
    """A pattern with its blanks filled."""

    def fill(blank: re.Match[str]) -> str:
        name = blank[1]
        return _MADE[name](rng, language) if name in _MADE else rng.choice(_given()["words"][language][name])

    found = _BLANK.sub(fill, pattern)
    if language == "en":
        found = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!use)", r"\1n ", found)
    return _capital(found) if pattern.startswith("{") and pattern.count(" ") > 3 else found


def _date(rng: random.Random, language: Language) -> str:
    year, month, day = rng.randint(1978, 2031), rng.randint(1, 12), rng.randint(1, 28)
    if rng.random() < 0.35:
        return f"{year}-{month:02d}-{day:02d}"
    return (
        f"{year}年{month}月{day}日"
        if language == "zh"
        else f"{day} {_given()['words']['en']['month'][month - 1]} {year}"
    )


def _price(rng: random.Random, language: Language) -> str:
    amount = f"{rng.randint(1, 10 ** rng.randint(1, 5)):,}"
    if rng.random() < 0.5:
        amount += f".{rng.randint(0, 99):02d}"
    return rng.choice((f"¥{amount}", f"{amount}元")) if language == "zh" else f"{rng.choice('$£€$')}{amount}"


_MADE: dict[str, Callable[[random.Random, Language], str]] = {
    "number": lambda rng, _: str(rng.randint(2, 10 ** rng.randint(1, 3))),
    "small": lambda rng, _: str(rng.randint(1, 19)),
    "year": lambda rng, _: str(rng.randint(1850, 2030)),
    "percent": lambda rng, _: f"{rng.randint(1, 99)}%" if rng.random() < 0.7 else f"{rng.randint(10, 999) / 10}%",
    "price": _price,
    "date": _date,
    "clock": lambda rng, _: f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}",
    "code": lambda rng, _: "".join(rng.choices(_CODES[:-3], k=rng.randint(4, 10))),
    "phone": lambda rng, _: f"{rng.randint(10, 999)}-{rng.randint(100, 9999)}-{rng.randint(1000, 9999)}",
}


def _read(path: str, place: int, language: Language) -> list[str]:
    """The whole sentences in the kilobytes from `place` on."""
    with open(path, "rb") as file:
        file.seek(place)
        window = file.read(_WINDOW)
    lines = window.decode("utf-8", "ignore").splitlines()
    # the first and the last line may be cut; a paragraph ends where a line is empty
    if place:
        parts = _END[language].split(lines[0]) if lines else []
        lines[:1] = ["".join(parts[1:2]), *([" ".join(parts[2:])] if parts[2:] else [])]
    paragraphs, current = [], ""
    for line in [*lines, ""]:
        if line.strip():
            current += ("" if language == "zh" else " ") + line.strip()
        elif current:
            paragraphs.append(current)
            current = ""
    found = [clean(part) for paragraph in paragraphs for part in _END[language].split(paragraph)]
    if len(window) == _WINDOW:
        found = found[:-1]
    return [sentence for sentence in found if 2 <= len(sentence) <= 400]
