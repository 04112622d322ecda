"""Where lines may break: between words, never within one; between hanzi by the Chinese rules for marks (kinsoku).

After W3C, "Requirements for Chinese Text Layout", section 3.1.3: closing marks do not begin a line, opening marks do
not end one, dashes and ellipses of two characters stay together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CLOSING = frozenset("，。、；：？！）】》〉」』〕〗”’…—～·％℃％,.;:?!)]}%‰°›»•")
"""No line begins with one of these."""

OPENING = frozenset("（【《〈「『〔〖“‘([{‹«¥￥$£€#")
"""No line ends with one of these."""

_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_TOKEN = re.compile(rf"\s+|[{_WIDE}]|——|……|[^\s{_WIDE}]+?(?=——|……|[\s{_WIDE}]|$)")


@dataclass(frozen=True, slots=True)
class Atom:
    """What no line breaks within: words and characters, " " where there is a blank between them.

    `apart` says that a blank stands before it, which vanishes at a break.
    """

    pieces: tuple[str, ...]
    apart: bool

    @property
    def text(self) -> str:
        """Its characters."""
        return "".join(self.pieces)


def atoms(text: str) -> list[Atom]:
    """Cut text into what lines may break between. A closing mark at the very beginning is left out."""
    found: list[Atom] = []
    apart = False
    for token in _TOKEN.findall(text):
        if token.isspace():
            apart = bool(found)
            continue
        if not found:
            token = token.lstrip("".join(CLOSING)) or ""
            if not token:
                continue
        if found and (token[0] in CLOSING or (found[-1].pieces[-1][-1] in OPENING and not apart)):
            before = found.pop()
            found.append(Atom((*before.pieces, *((" ",) if apart else ()), token), before.apart))
        else:
            found.append(Atom((token,), apart))
        apart = False
    return found


def fill(
    found: Sequence[Atom],
    width: Callable[[str], float],
    blank: float,
    limit: float,
    indent: float = 0.0,
) -> list[list[Atom]] | None:
    """Fill lines of `limit` pixels, the first one shorter by `indent`, each with as many atoms as there is room for.

    `width` measures a piece, `blank` is a blank's width. None where an atom is wider than a line.
    """
    lines: list[list[Atom]] = []
    current: list[Atom] = []
    left = limit - indent
    for atom in found:
        need = sum(blank if piece == " " else width(piece) for piece in atom.pieces)
        gap = blank if atom.apart and current else 0.0
        if current and gap + need > left:
            lines.append(current)
            current, left, gap = [], limit, 0.0
        if need > left:
            # the first line's indent may be what is in the way
            if not current and not lines and need <= limit:
                return fill(found, width, blank, limit)
            return None
        current.append(atom)
        left -= gap + need
    return [*lines, current] if current else lines


def text_of(line: Sequence[Atom]) -> str:
    """The line as it is read."""
    return "".join(f"{' ' if atom.apart and number else ''}{atom.text}" for number, atom in enumerate(line))
