"""Qwen's byte-level BPE and its 217 special ids as a fast tokenizer: read, trained small, saved for `transformers`.

Ordinary text and special tokens never meet: the Rust tokenizer inside holds the ordinary vocabulary alone, so `encode`
cannot give a special id whatever a text spells. The special ids stand after the ordinary ones, in the order of the
released vocabulary.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer

from qwenvl.text.chatml import CHAT_TEMPLATE
from qwenvl.text.tiktoken_file import BYTE_OF_CHARACTER
from qwenvl.text.vocabulary import SPECIAL_TOKENS, VISION_TOKENS, clean, learnt, ordinary_of, packaged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CACHED_LENGTH = 96
_CACHE_SIZE = 1 << 15
FILES = ("tokenizer.json", "qwen.tiktoken")
"""What `QwenTokenizer.load` reads, the first that is there."""

_FILE, _RELEASED = FILES
_SETTINGS = {
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "clean_up_tokenization_spaces": False,
    "model_input_names": ["input_ids", "attention_mask"],
    "padding_side": "left",
    "chat_template": CHAT_TEMPLATE,
}


class QwenTokenizer:
    """Text ⇄ ids. Make one with `from_dashscope`, `from_tiktoken`, `train_small` or `load`. It pickles.

    Ids 0 … n-1 are the ordinary vocabulary, n … n+216 the special tokens (n = 151,643 for Qwen).
    """

    bos_id: int | None = None
    """What every sample begins with: nothing here, but other decoders' vocabularies may have such a token."""

    def __init__(self, ordinary: Tokenizer, specials: Mapping[str, int]) -> None:
        """`ordinary` is a byte-level tokenizer without added tokens; `specials` has the ids of the 217 special ones."""
        missing = [token for token in SPECIAL_TOKENS if token not in specials]
        if missing:
            raise ValueError(
                f"a Qwen tokenizer needs 217 special tokens; {len(missing)} are missing, the first is {missing[0]}"
            )
        size = ordinary.get_vocab_size(with_added_tokens=False)
        if min(specials.values()) < size:
            raise ValueError(
                f"the ids of special tokens must follow the {size} ordinary ones, not start at {min(specials.values())}"
            )
        self._set(ordinary, specials)

    def _set(self, ordinary: Tokenizer, specials: Mapping[str, int]) -> None:
        self._ordinary = ordinary
        self._specials = dict(specials)
        self._names = {number: token for token, number in self._specials.items()}
        self._size = ordinary.get_vocab_size(with_added_tokens=False)
        self._bytes: dict[int, bytes] = {}
        self._cached = functools.lru_cache(maxsize=_CACHE_SIZE)(self._encode)
        self.vocab_size: int = max(self._names) + 1
        self.eos_id: int = self._specials["<|endoftext|>"]
        self.im_start_id: int = self._specials["<|im_start|>"]
        self.im_end_id: int = self._specials["<|im_end|>"]
        self.ref_start_id: int = self._specials["<ref>"]
        self.ref_end_id: int = self._specials["</ref>"]
        self.box_start_id: int = self._specials["<box>"]
        self.box_end_id: int = self._specials["</box>"]
        self.quad_start_id: int = self._specials["<quad>"]
        self.quad_end_id: int = self._specials["</quad>"]
        self.img_start_id: int = self._specials["<img>"]
        self.img_end_id: int = self._specials["</img>"]
        self.image_slot_id: int = self._specials["<imgpad>"]

    # -- making one ------------------------------------------------------------------------------------------------

    @classmethod
    def from_tiktoken(cls, path: str | Path) -> QwenTokenizer:
        """The tokenizer of a `qwen.tiktoken` file (lines of base64 bytes and rank). Takes a few seconds: `save` it.

        Raises FileNotFoundError, or ValueError naming the line that is wrong.
        """
        return cls._of(ordinary_of(Path(path)))

    @classmethod
    def from_dashscope(cls) -> QwenTokenizer:
        """The released vocabulary, out of the `dashscope` package, which carries the file. Nothing is downloaded.

        Raises ImportError, saying how to install it, where the package is missing.
        """
        return cls.from_tiktoken(packaged())

    @classmethod
    def train_small(cls, texts: Iterable[str], vocab_size: int) -> QwenTokenizer:
        """A byte-level BPE of at most `vocab_size` ordinary ids (256 of them bytes) learnt from plain texts.

        The 217 specials follow. The same texts give the same tokenizer, in whatever order they come. Few texts may give
        fewer ids. Give words and coordinates as they are encoded (`render.texts_of`), without tags.
        """
        return cls._of(learnt(texts, vocab_size))

    @classmethod
    def _of(cls, ordinary: Tokenizer) -> QwenTokenizer:
        """With the special tokens behind an ordinary vocabulary."""
        first = ordinary.get_vocab_size()
        return cls(ordinary, {token: first + i for i, token in enumerate(SPECIAL_TOKENS)})

    # -- text to ids -----------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, all ordinary: what spells a special token comes out as its letters."""
        return list(self.encode_cached(text))

    def encode_cached(self, text: str) -> tuple[int, ...]:
        """`encode` as a tuple; short texts are remembered."""
        return self._cached(text) if len(text) <= _CACHED_LENGTH else self._encode(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._ordinary.encode(clean(text), add_special_tokens=False).ids)

    def special(self, token: str) -> int:
        """The id of a special token. Raises ValueError, naming the nearest, for one that does not exist."""
        try:
            return self._specials[token]
        except KeyError:
            near = difflib.get_close_matches(token, self._specials, n=1)
            raise ValueError(f"no special token {token!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from None

    def encode_with_specials(self, text: str) -> list[int]:
        """The ids of a **trusted** text in which special tokens are spelt out: for tools, not for what a user typed."""
        ids: list[int] = []
        for piece in self.split_specials(text):
            ids += (self._specials[piece],) if piece in self._specials else self.encode_cached(piece)
        return ids

    def split_specials(self, text: str) -> list[str]:
        """A **trusted** text cut into special tokens and the words between them."""
        return [piece for piece in self._splitter.split(clean(text)) if piece]

    @functools.cached_property
    def _splitter(self) -> re.Pattern[str]:
        return re.compile("(" + "|".join(map(re.escape, sorted(self._specials, key=len, reverse=True))) + ")")

    # -- ids to text -----------------------------------------------------------------------------------------------

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of ids. A picture's slots collapse to `<img></img>`; broken UTF-8 and unknown ids show as U+FFFD.

        The reference writes a picture's path into the first of its slots: that goes too.
        """
        data = bytearray()
        opened = -1  # where the words behind an <img> start
        in_slots = False
        for number in ids:
            token = self._names.get(number)
            if token is None:
                data += self._token_bytes(number)
                in_slots = False
                continue
            if number == self.image_slot_id and (in_slots or opened >= 0):
                if opened >= 0:
                    del data[opened:]
                opened, in_slots = -1, True
                continue
            if not skip_special:
                data += token.encode()
            opened = len(data) if number == self.img_start_id else -1
            in_slots = False
        return data.decode("utf-8", "replace")

    def token_text(self, number: int) -> str:
        """One id as text: a special token's name, or its bytes as UTF-8 with U+FFFD for what is half a character."""
        return self.token_bytes(number).decode("utf-8", "replace")

    def token_bytes(self, number: int) -> bytes:
        """The bytes that one id stands for: a special token's name, or UTF-8 that may be half a character."""
        name = self._names.get(number)
        return name.encode() if name is not None else self._token_bytes(number)

    def is_special(self, number: int) -> bool:
        """Whether an id is one of the special tokens."""
        return number in self._names

    def _token_bytes(self, number: int) -> bytes:
        known = self._bytes.get(number)
        if known is None:
            token = self._ordinary.id_to_token(number) if 0 <= number < self._size else None
            known = "\ufffd".encode() if token is None else bytes(BYTE_OF_CHARACTER[c] for c in token)
            self._bytes[number] = known
        return known

    # -- keeping it ------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` (with chat template) for `load` and for `transformers`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._full().save(str(folder / _FILE))
        text = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **_SETTINGS}, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

    def to_transformers(self) -> PreTrainedTokenizerFast:
        """The tokenizer as one of `transformers`, which reads special tokens in a text as such: for trusted text.

        For untrusted messages use its `apply_chat_template(…, sanitize_control_tokens=True)`.
        """
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_object=self._full(), **_SETTINGS)

    def _full(self) -> Tokenizer:
        """One Rust tokenizer with the special tokens among its own."""
        full = Tokenizer.from_str(self._ordinary.to_str())
        full.add_special_tokens(
            [
                AddedToken(token, special=True, normalized=False)
                for token in sorted(self._specials, key=self._specials.__getitem__)
            ]
        )
        if any(full.token_to_id(token) != number for token, number in self._specials.items()):
            raise ValueError(
                "the special ids do not follow the ordinary ones without a gap: tokenizer.json cannot say that"
            )
        return full

    @classmethod
    def load(cls, folder: str | Path) -> QwenTokenizer:
        """Read what `save` wrote, or the `qwen.tiktoken` of a released checkpoint's folder.

        Raises FileNotFoundError where neither is there, ValueError where `tokenizer.json` is not a Qwen tokenizer or
        `qwen.tiktoken` is damaged or shorter than the `config.json` beside it says.
        """
        path = Path(folder) / _FILE
        if not path.is_file():
            released = Path(folder) / _RELEASED
            if released.is_file():
                tokenizer = cls.from_tiktoken(released)
                _check_whole(tokenizer, released)
                return tokenizer
            raise FileNotFoundError(f"no tokenizer in {folder}: expected {_FILE} or {_RELEASED} there")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            specials = {token["content"]: token["id"] for token in content["added_tokens"]}
            if VISION_TOKENS[-1] in specials and "<|extra_0|>" not in specials:
                from qwenvl.text.foreign import ForeignTokenizer

                return ForeignTokenizer.load(folder)
            content["added_tokens"] = []
            ordinary = Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the Rust side raises plain Exception
            raise ValueError(f"{path} is not a tokenizer that this package reads: {error}") from error
        return cls(ordinary, specials)

    def __getstate__(self) -> tuple[str, dict[str, int]]:
        return self._ordinary.to_str(), self._specials

    def __setstate__(self, state: tuple[str, dict[str, int]]) -> None:
        QwenTokenizer.__init__(self, Tokenizer.from_str(state[0]), state[1])


def _check_whole(tokenizer: QwenTokenizer, path: Path) -> None:
    """A file that ends between two lines looks whole, but its special tokens would have other ids than the model's."""
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        wanted = config["visual"]["image_start_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if wanted != tokenizer.img_start_id:
        lines, missing = min(tokenizer._names), wanted - tokenizer.img_start_id
        raise ValueError(
            f"{path}: ends after line {lines}, {abs(missing)} lines too {'early' if missing > 0 else 'late'}: <img> is "
            f"{tokenizer.img_start_id} behind these tokens, but {wanted} in {path.parent / 'config.json'}; "
            "copy the file of this checkpoint again"
        )
