"""An answer as it comes: ids → pieces of text, ended by stop texts, with its regions and log-probabilities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qwenvl.sample import Region
from qwenvl.serve.api_prompt import Prompt
from qwenvl.serve.chat import answer_parts, regions_of
from qwenvl.serve.requests import Token
from qwenvl.text import markup
from qwenvl.text.tokenizer import QwenTokenizer

_CLOSED = re.compile(r"[<＜]\s*/\s*(?:box|quad)\s*[>＞]", re.IGNORECASE)
_BROKEN = 16
"""Tokens after which text is handed on although it ends in half a character: a model may emit broken bytes."""

_LEAST = -9999.0
"""What stands for the log-probability of the impossible: JSON has no infinity."""


@dataclass(slots=True)
class Piece:
    """What one step added: text, the whole list of finished regions where it grew, log-probabilities."""

    text: str = ""
    regions: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class Answer:
    """One answer. `text` is what was handed on so far: never a stop text, never the beginning of one."""

    def __init__(self, prompt: Prompt, tokenizer: QwenTokenizer, stops: Sequence[str]) -> None:
        self._prompt, self._tokenizer, self._stops = prompt, tokenizer, stops
        self._pending: list[int] = []
        self._text = ""
        self._at = 0  # characters handed on
        self._seen = 0  # where the next closing tag is looked for
        self._logprobs: list[tuple[int, dict[str, Any]]] = []
        self.tokens = 0
        self.stopped = False

    @property
    def text(self) -> str:
        """The answer so far, markup included."""
        return self._text[: self._at]

    @property
    def plain(self) -> str:
        """Its words without markup."""
        return markup.strip(self.text)

    def add(self, token: Token) -> Piece:
        """One more id."""
        self.tokens += 1
        if token.logprob is not None:
            self._logprobs.append((len(self._text), _entry(self._tokenizer, token)))
        self._pending.append(token.id)
        text = self._tokenizer.decode(self._pending)
        if text.endswith("\ufffd") and len(self._pending) < _BROKEN:
            return Piece()
        return self._more(text)

    def end(self) -> Piece:
        """What was held back, when nothing follows; the list of regions is the final one."""
        if not self.stopped:
            piece = self._more(self._tokenizer.decode(self._pending), last=True)
        else:
            piece = Piece(logprobs=self._released(last=True))
        piece.regions = self.regions(self.text)
        return piece

    def regions(self, text: str) -> list[dict[str, Any]]:
        """What a text of this answer points at, in pixels of the pictures as they were sent."""
        found = list(regions_of(answer_parts(text, self._prompt.question, self._prompt.images)))
        if found and found[0].phrase is None and self._prompt.phrase is not None and _begins_with_place(text):
            found[0] = replace(found[0], phrase=self._prompt.phrase)
        return [_region(region) for region in found]

    def _more(self, text: str, last: bool = False) -> Piece:
        self._pending = []
        before = self._at
        searched = max(0, len(self._text) - max(map(len, self._stops), default=0))
        self._text += text
        ends = [at for stop in self._stops if (at := self._text.find(stop, searched)) >= 0]
        if ends:
            self.stopped = True
            self._text = self._text[: min(ends)]
        self._at = max(self._at, len(self._text) - (0 if ends or last else self._held()))
        return Piece(self._text[before : self._at], self._grown(), self._released(last or self.stopped))

    def _held(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        longest = max(map(len, self._stops), default=1) - 1
        for count in range(min(longest, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-count:]) for stop in self._stops):
                return count
        return 0

    def _grown(self) -> list[dict[str, Any]] | None:
        """The regions up to the last place, where one has become complete since."""
        closed = 0
        for match in _CLOSED.finditer(self._text, self._seen, self._at):
            closed = match.end()
        if not closed:
            # a tag may be cut in the middle: look again from where it can begin
            self._seen = max(self._seen, self._at - 16)
            return None
        self._seen = closed
        return self.regions(self._text[:closed]) or None

    def _released(self, last: bool) -> list[dict[str, Any]]:
        """The log-probabilities of tokens whose text was handed on."""
        count = 0
        while count < len(self._logprobs) and (self._logprobs[count][0] < self._at or (last and not self.stopped)):
            count += 1
        found = [entry for _, entry in self._logprobs[:count]]
        self._logprobs = self._logprobs[count:]
        return found


def _begins_with_place(text: str) -> bool:
    first = next(iter(markup.parse(text)), None)
    return isinstance(first, markup.RegionSpan)


def _region(region: Region) -> dict[str, Any]:
    return {
        "phrase": region.phrase,
        "image": region.image,
        "boxes": [[round(v, 2) for v in (box.x0, box.y0, box.x1, box.y1)] for box in region.boxes],
        "quads": [[[round(x, 2), round(y, 2)] for x, y in quad.points] for quad in region.quads],
    }


def _entry(tokenizer: QwenTokenizer, token: Token) -> dict[str, Any]:
    """A token's log-probabilities as OpenAI writes them in chat."""
    return {
        **_single(tokenizer, token.id, token.logprob if token.logprob is not None else _LEAST),
        "top_logprobs": [_single(tokenizer, id, logprob) for id, logprob in token.top],
    }


def _single(tokenizer: QwenTokenizer, id: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(id)
    return {"token": data.decode("utf-8", "replace"), "logprob": max(logprob, _LEAST), "bytes": list(data)}


def completion_logprobs(entries: Sequence[dict[str, Any]], offset: int = 0) -> dict[str, Any]:
    """Log-probabilities as OpenAI writes them in completions; `offset` is where the text of the first one begins."""
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry["token"])
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [{top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in entries],
        "text_offset": offsets,
    }
