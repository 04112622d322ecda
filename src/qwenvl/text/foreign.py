"""Another decoder's tokenizer (`tokenizer.json`) with Qwen-VL's tokens added, in the place of Qwen's own.

As with Qwen's, the Rust tokenizer inside holds the ordinary vocabulary alone, so text cannot become a control token.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from qwenvl.text.chatml import CHAT_TEMPLATE
from qwenvl.text.tiktoken_file import BYTE_OF_CHARACTER
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import CONTROL_TOKENS, VISION_TOKENS

_FILE, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class ForeignTokenizer(QwenTokenizer):
    """Text ⇄ ids in the vocabulary of any byte-level or byte-fallback tokenizer. Make one with `extend` or `load`.

    The decoder's own ids stay as they are; tokens that it lacks (`<img>`, `<box>`, … and ChatML's) follow its last one.
    `<|endoftext|>` is its own end of text, whatever that is called. A mark that it puts before every text (Llama's
    `<|begin_of_text|>`) is `bos_id`.
    """

    new_ids: tuple[int, ...] = ()
    """The ids that `extend` added, for which the decoder has no embeddings yet."""

    def __init__(self, content: str, eos: str) -> None:
        """`content` is a `tokenizer.json` that has all tokens; `eos` the name of its end of text."""
        self._content, self._eos = content, eos
        full, data = Tokenizer.from_str(content), json.loads(content)
        specials = {token["content"]: int(token["id"]) for token in data["added_tokens"]}
        missing = [token for token in (*CONTROL_TOKENS[1:], *VISION_TOKENS, eos) if token not in specials]
        if missing:
            raise ValueError(f"the tokenizer lacks the special token {missing[0]}")
        before, plain = full.encode("a").ids, full.encode("a", add_special_tokens=False).ids
        if before[:1] != plain[:1] and before[0] in specials.values():
            self.bos_id = before[0]
        self._byte_level = '"ByteLevel"' in json.dumps([data.get("pre_tokenizer"), data.get("decoder")])
        unknown = data["model"].get("unk_token")
        # An unknown character's id may come out of a text; all other special ids may not.
        self._control = set(specials.values()) - {specials.get(unknown, -1), data["model"].get("unk_id")}
        self._set(Tokenizer.from_str(json.dumps(_ordinary(data))), {**specials, "<|endoftext|>": specials[eos]})
        self.vocab_size = max(self.vocab_size, full.get_vocab_size())

    @classmethod
    def extend(cls, folder: str | Path) -> ForeignTokenizer:
        """The tokenizer of a decoder's folder with the missing ones of Qwen-VL's and ChatML's tokens added.

        Raises FileNotFoundError without a `tokenizer.json`, ValueError where it can't be read.
        """
        path = Path(folder) / _FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"no {_FILE} in {folder}: only fast tokenizers can be extended. Make one with "
                f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        try:
            full = Tokenizer.from_file(str(path))
            known = {token.content for token in full.get_added_tokens_decoder().values()}
            own = _named(Path(folder) / _SETTINGS, "eos_token")
            eos = next((name for name in ("<|endoftext|>", own) if name in known), "<|endoftext|>")
            wanted = (eos, *CONTROL_TOKENS[1:], *VISION_TOKENS)
            lacking = [token for token in wanted if token not in known]
            full.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in lacking])
            made = cls(full.to_str(), eos)
            made.new_ids = tuple(made.special(token) for token in lacking)
            return made
        except Exception as error:  # the Rust side raises plain Exception
            raise ValueError(f"{path} can't be extended by Qwen-VL's tokens: {error}") from error

    @classmethod
    def load(cls, folder: str | Path) -> ForeignTokenizer:
        """Read what `save` wrote. Raises ValueError where it can't be read."""
        folder = Path(folder)
        eos = _named(folder / _SETTINGS, "eos_token")
        if eos is None:
            raise ValueError(f"{folder / _SETTINGS} is missing or has no eos_token: which token ends a text?")
        return cls((folder / _FILE).read_text(encoding="utf-8"), eos)

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` (with chat template) for `load` and for `transformers`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(self._content, encoding="utf-8")
        bos = None if self.bos_id is None else self._names[self.bos_id]
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos,
            "eos_token": self._eos,
            "pad_token": self._eos,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "padding_side": "left",
            "chat_template": ("{{- bos_token -}}" if bos else "") + CHAT_TEMPLATE,
        }
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (folder / _SETTINGS).write_text(text + "\n", encoding="utf-8")

    def _encode(self, text: str) -> tuple[int, ...]:
        ids = super()._encode(text)
        if self._control.isdisjoint(ids):
            return ids
        # A vocabulary that counts its control tokens as words: letter by letter they can't come out.
        return tuple(
            i for letter in text for i in super(ForeignTokenizer, self)._encode(letter) if i not in self._control
        )

    def _token_bytes(self, number: int) -> bytes:
        known = self._bytes.get(number)
        if known is None:
            token = self._ordinary.id_to_token(number) if number >= 0 else None
            known = self._bytes[number] = "\ufffd".encode() if token is None else self._spelt(token)
        return known

    def _spelt(self, token: str) -> bytes:
        if self._byte_level:
            return b"".join(bytes([BYTE_OF_CHARACTER[c]]) if c in BYTE_OF_CHARACTER else c.encode() for c in token)
        byte = _BYTE.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace("▁", " ").encode()

    def __getstate__(self) -> Any:
        return self._content, self._eos

    def __setstate__(self, state: Any) -> None:
        ForeignTokenizer.__init__(self, *state)


def _ordinary(data: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer without special tokens, and without the space that some put before every text.

    A sample is encoded part by part, and a space before each part would stand in the middle of words.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value if not (isinstance(item, dict) and item.get("type") == "Prepend")]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "Prepend":
            return None
        changes: dict[str, dict[str, Any]] = {
            "Metaspace": {"prepend_scheme": "never"},
            "ByteLevel": {"add_prefix_space": False},
        }
        return {key: plain(item) for key, item in value.items()} | changes.get(str(value.get("type")), {})

    kept = {key: plain(data.get(key)) for key in ("normalizer", "pre_tokenizer", "decoder")}
    return {**data, **kept, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}


def _named(path: Path, key: str) -> str | None:
    """A special token's name in a `tokenizer_config.json`, where it is text or an object with "content"."""
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8")).get(key)
    return value.get("content") if isinstance(value, dict) else value
