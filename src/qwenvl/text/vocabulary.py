"""Qwen's vocabulary: its special tokens, how text is cut for BPE, and where the ordinary tokens come from."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from qwenvl.text.tiktoken_file import read_tiktoken

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The end of a document, and ChatML's beginning and end of a turn."""

VISION_TOKENS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>")
"""What Qwen-VL adds to a language model's vocabulary; `<imgpad>` is a picture's slot."""

SPECIAL_TOKENS: tuple[str, ...] = (*CONTROL_TOKENS, *(f"<|extra_{i}|>" for i in range(205)), *VISION_TOKENS)
"""The 217 special tokens in the order of their ids; the first is 151643 in the released vocabulary."""

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's way to cut text before BPE: words with what precedes them, digits one by one, punctuation, breaks, spaces."""


def ordinary_of(path: Path) -> Tokenizer:
    """The ordinary vocabulary of a `qwen.tiktoken` file. Takes a few seconds.

    Raises FileNotFoundError, or ValueError naming the line that is wrong.
    """
    vocabulary, merges = read_tiktoken(path)
    # A piece that is a token as a whole is that token, as in tiktoken.
    return _pipeline(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))


def packaged() -> Path:
    """The `qwen.tiktoken` that the package `dashscope` carries. Raises ImportError where that is missing."""
    spec = find_spec("dashscope")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "resources" / "qwen.tiktoken"
        if path.is_file():
            return path
    raise ImportError(
        'Qwen\'s vocabulary comes with the package dashscope, which is missing: pip install "qwenvl[tokenizer]", '
        "or give the file qwen.tiktoken of a released checkpoint to QwenTokenizer.from_tiktoken"
    )


def learnt(texts: Iterable[str], size: int) -> Tokenizer:
    """An ordinary vocabulary of at most `size` tokens, 256 of them bytes, learnt from plain texts in any order."""
    if size < 256:
        raise ValueError(f"a byte-level vocabulary holds the 256 bytes: vocab_size is {size}, give 256 or more")
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer = _pipeline(models.BPE())
    tokenizer.train_from_iterator((clean(text) for text in texts), trainer)
    return tokenizer


def clean(text: str) -> str:
    """A text in NFC, and without half surrogates, which UTF-8 cannot hold."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _pipeline(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
