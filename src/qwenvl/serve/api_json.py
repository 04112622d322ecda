"""Answers that are JSON of a given schema: which tokens may come next, told by llguidance.

llguidance (Rust, the library behind constrained decoding in llama.cpp, vLLM and SGLang) computes a mask in tens of
microseconds from the schema and the bytes of the vocabulary; nothing is compiled ahead and no schema is fetched.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qwenvl.text.tokenizer import QwenTokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from numpy.typing import NDArray


class SchemaError(ValueError):
    """A schema that can't be followed; the message says why."""


class Grammars:
    """Makes constraints for one vocabulary; `size` is the number of scores that the model gives."""

    def __init__(self, tokenizer: QwenTokenizer, size: int | None = None) -> None:
        self._tokenizer, self._size = tokenizer, size or tokenizer.vocab_size
        self._ends = (tokenizer.eos_id, tokenizer.im_end_id)
        self._made: LLTokenizer | None = None
        self._lock = threading.Lock()

    def json(self, schema: Mapping[str, Any] | None = None) -> JsonConstraint:
        """For one answer: an object of any kind, or what `schema` describes.

        Raises SchemaError for a schema that can't be followed, ModuleNotFoundError without llguidance.
        """
        from llguidance import LLMatcher

        wanted: Mapping[str, Any] = {"type": "object"} if schema is None else schema
        # no white space between: a small model could otherwise go on with blanks for ever
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(wanted), overrides=options)
        matcher = LLMatcher(self._vocabulary(), grammar, log_level=0)
        if matcher.is_error():
            raise SchemaError((matcher.get_error() or "no reason given").splitlines()[0][:300])
        return JsonConstraint(matcher, wanted, self._size, self._ends)

    def _vocabulary(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        with self._lock:
            if self._made is None:
                self._made = LLTokenizer(TokenizerWrapper(_Words(self._tokenizer, self._size)), n_vocab=self._size)
            return self._made


class JsonConstraint:
    """Implements `qwenvl.serve.requests.Constraint`."""

    def __init__(self, matcher: LLMatcher, schema: Mapping[str, Any], size: int, ends: tuple[int, ...]) -> None:
        self._matcher, self._size, self._ends = matcher, size, ends
        self.schema = schema
        self._bits = np.zeros((1, (size + 31) // 32), dtype=np.int32)

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): True for each id that may come next; those that end an answer only where it is whole."""
        mask: NDArray[np.bool_] = np.zeros(self._size, dtype=np.bool_)
        if not self._matcher.is_stopped():
            from llguidance.numpy import fill_next_token_bitmask

            fill_next_token_bitmask(self._matcher, self._bits)
            mask = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._size].astype(np.bool_)
        whole = self._matcher.is_stopped() or self._matcher.is_accepting()
        mask[list(self._ends)] = whole
        return mask

    def accept(self, token: int) -> None:
        """An id was chosen."""
        if token not in self._ends and not self._matcher.is_stopped():
            self._matcher.consume_token(token)


class _Words:
    """The vocabulary as llguidance's `TokenizerWrapper` reads it; special tokens can't be chosen within an answer."""

    def __init__(self, tokenizer: QwenTokenizer, size: int) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.eos_id, tokenizer.bos_id
        self.special_token_ids = [number for number in range(size) if tokenizer.is_special(number)]
        known = min(size, tokenizer.vocab_size)
        self.tokens = [tokenizer.token_bytes(number) for number in range(known)]
        # scores that no token belongs to: a name that no JSON has
        self.tokens += [f"\xff<unused {number}>".encode("latin-1") for number in range(known, size)]
        self.special_token_ids += range(known, size)
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
