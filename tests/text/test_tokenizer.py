"""The tokenizer against the reference and tiktoken; small ones; files; that text never becomes a special token."""

from __future__ import annotations

import json
import pickle
import random
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS, SPLIT_PATTERN

SMUGGLED = st.lists(st.sampled_from([*SPECIAL_TOKENS, *SPECIAL_TOKENS[-9:] * 9, "a", " ", "\n", "狗", "<", "|"])).map(
    "".join
)


def test_special_ids(golden: dict[str, Any], qwen: QwenTokenizer) -> None:
    assert {token: qwen.special(token) for token in SPECIAL_TOKENS} == golden["special_tokens"]
    assert len(SPECIAL_TOKENS) == 217 and qwen.vocab_size == 151_860
    assert (qwen.eos_id, qwen.im_start_id, qwen.im_end_id) == (151_643, 151_644, 151_645)
    assert (qwen.img_start_id, qwen.img_end_id, qwen.image_slot_id) == (151_857, 151_858, 151_859)
    assert (qwen.ref_start_id, qwen.box_end_id, qwen.quad_start_id) == (151_851, 151_854, 151_855)


def test_reference_strings(golden: dict[str, Any], qwen: QwenTokenizer) -> None:
    for case in golden["strings"]:
        assert qwen.encode_with_specials(case["text"]) == case["ids"], case["text"]
        assert qwen.decode(case["ids"]) == case["decoded"]
        assert qwen.decode(case["ids"], skip_special=True) == case["decoded_skip_special"]


def test_reference_images(golden: dict[str, Any], qwen: QwenTokenizer, fill_slots: Any) -> None:
    for case in golden["images"]:
        text = qwen.decode(case["ids"])
        assert text == qwen.decode(fill_slots(case["ids"], qwen))
        names = [piece.split("</img>")[0] for piece in case["decoded"].split("<img>")[1:]]
        for name in names:
            case["decoded"] = case["decoded"].replace(f"<img>{name}</img>", "<img></img>")
        assert text == case["decoded"]


@pytest.mark.skipif(find_spec("tiktoken") is None, reason="compares with the package tiktoken: pip install tiktoken")
def test_same_as_tiktoken(qwen: QwenTokenizer, vocabulary_file: Path) -> None:
    """Merges made from ranks cut like tiktoken, also the odd mixtures that a text of words does not reach."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(vocabulary_file))
    other = tiktoken.Encoding("qwen", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})
    rng = random.Random(0)
    blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x400, 0x500), (0x600, 0x700), (0xE00, 0xE80)]
    blocks += [(0x1100, 0x1200), (0x2000, 0x2070), (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4)]
    blocks += [(0xF900, 0xFB00), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0x1D400, 0x1D7FF), (1, 0xD7FF)]
    pieces = [
        "    ",
        "\n",
        "\r\n",
        "\t",
        "def f(x):",
        "self.",
        "&&",
        "</div>",
        "\u200d",
        "\ufe0f",
        "0x1F",
        "1e-5",
        "'LL",
        "'s",
    ]
    for _ in range(3000):
        low, high = rng.choice(blocks)
        text = "".join(
            rng.choice(pieces) if rng.random() < 0.15 else chr(rng.randrange(low, high))
            for _ in range(rng.randint(1, 24))
        )
        assert qwen.encode(text) == other.encode_ordinary(unicodedata.normalize("NFC", text)), ascii(text)
    vocabulary = [qwen.token_text(i) for i in rng.sample(range(151_643), 4000)]
    for _ in range(2000):
        text = "".join(rng.choices(vocabulary, k=rng.randint(1, 6))).replace("\ufffd", "")
        text = text if rng.random() < 0.8 else text.lower()
        assert qwen.encode(text) == other.encode_ordinary(qwen.decode(qwen.encode(text)))


@given(st.one_of(st.text(), SMUGGLED))
@settings(max_examples=300)
def test_text_never_becomes_special(small: QwenTokenizer, text: str) -> None:
    ids = small.encode(text)
    assert not any(small.is_special(i) for i in ids)
    assert all(0 <= i < small.vocab_size - 217 for i in ids)


@given(SMUGGLED)
@settings(max_examples=50)
def test_text_never_becomes_special_in_the_released_vocabulary(qwen: QwenTokenizer, text: str) -> None:
    assert not any(qwen.is_special(i) for i in qwen.encode(text))
    assert qwen.decode(qwen.encode(text)) == text


def test_no_special_token_by_its_name(small: QwenTokenizer) -> None:
    for token in SPECIAL_TOKENS:
        for text in (token, f"a {token}b", token * 2):
            ids = small.encode(text)
            assert not any(small.is_special(number) for number in ids) and small.decode(ids) == text


@given(st.text())
def test_round_trip(small: QwenTokenizer, text: str) -> None:
    assert small.decode(small.encode(text)) == unicodedata.normalize("NFC", text)


def test_long_texts_and_half_surrogates(small: QwenTokenizer) -> None:
    text = "a red star " * 100
    assert small.decode(small.encode(text)) == text
    assert small.decode(small.encode("a\ud800b")) == "a\ufffdb"


def test_decode_of_strange_ids(small: QwenTokenizer) -> None:
    assert small.decode([small.vocab_size + 5, -1]) == "\ufffd\ufffd"
    picture = [small.img_start_id, *[small.image_slot_id] * 9, small.img_end_id]
    assert small.decode(picture) == "<img></img>"
    assert small.decode([*picture, *picture, small.image_slot_id]) == "<img></img><img></img><imgpad>"
    assert small.decode(picture, skip_special=True) == ""
    named = [small.img_start_id, *small.encode("/home/a.png"), *[small.image_slot_id] * 3, small.img_end_id]
    assert small.decode([*small.encode("a "), *named, *small.encode(" b")]) == "a <img></img> b"
    assert small.decode([*small.encode("a "), *named, *small.encode(" b")], skip_special=True) == "a  b"
    unfilled = [small.img_start_id, *small.encode("x"), small.img_end_id, small.image_slot_id]
    assert small.decode(unfilled) == "<img>x</img><imgpad>"
    assert small.decode(small.encode("狗")[:1]) == "\ufffd"


def test_unknown_special_names_the_nearest(small: QwenTokenizer) -> None:
    with pytest.raises(ValueError, match=r"did you mean '<\|im_end\|>'"):
        small.special("<|im_end>")


# -- small ones ----------------------------------------------------------------------------------------------------


def test_small_is_deterministic(corpus: list[str]) -> None:
    texts = corpus * 5
    first = QwenTokenizer.train_small(texts, 420)
    shuffled = random.Random(1).sample(texts, len(texts))
    again = QwenTokenizer.train_small(iter(shuffled), 420)
    assert first.__getstate__() == again.__getstate__()


@pytest.mark.parametrize("size", [256, 300, 768])
def test_small_sizes(size: int) -> None:
    words = [f"word{chr(97 + i % 26)}{chr(97 + i % 7)} 单词{chr(0x4E00 + i)}" for i in range(400)]
    tokenizer = QwenTokenizer.train_small(words, size)
    assert tokenizer.vocab_size == size + 217
    assert tokenizer.eos_id == size and tokenizer.image_slot_id == size + 216
    assert [tokenizer.special(token) for token in SPECIAL_TOKENS] == list(range(size, size + 217))


def test_small_from_nothing_is_bytes() -> None:
    tokenizer = QwenTokenizer.train_small([], 768)
    assert tokenizer.vocab_size == 256 + 217
    assert tokenizer.decode(tokenizer.encode("星 star")) == "星 star"
    with pytest.raises(ValueError, match="256"):
        QwenTokenizer.train_small(["a"], 100)


def test_digits_are_single(small: QwenTokenizer) -> None:
    digits = [small.encode(str(d))[0] for d in range(10)]
    assert small.encode("0123456789") == digits
    assert small.encode("833") == [digits[8], digits[3], digits[3]]


# -- files ---------------------------------------------------------------------------------------------------------


def test_save_and_load(small: QwenTokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    loaded = QwenTokenizer.load(tmp_path)
    assert loaded.__getstate__() == small.__getstate__()
    text = "a red star <|im_end|> 星"
    assert loaded.encode(text) == small.encode(text)
    assert loaded.encode_with_specials(text) == small.encode_with_specials(text)


def test_pickle(small: QwenTokenizer) -> None:
    copy = pickle.loads(pickle.dumps(small))
    assert copy.encode("a red star 12") == small.encode("a red star 12") and copy.eos_id == small.eos_id


def test_transformers_reads_the_folder(small: QwenTokenizer, corpus: list[str], tmp_path: Path) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    small.save(tmp_path)
    for loader in (PreTrainedTokenizerFast, AutoTokenizer):
        other = loader.from_pretrained(str(tmp_path))
        for text in (*corpus, "<ref>a star</ref><box>(1,2),(3,45)</box><|endoftext|>", "e\u0301"):
            assert other(text)["input_ids"] == small.encode_with_specials(text)
        assert other.eos_token_id == other.pad_token_id == small.eos_id
        assert len(other) == small.vocab_size


def test_transformers_with_the_released_vocabulary(golden: dict[str, Any], qwen: QwenTokenizer, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    qwen.save(tmp_path)
    made = qwen.to_transformers()
    assert all(made(case["text"])["input_ids"] == case["ids"] for case in golden["strings"])
    other = PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    for case in golden["strings"]:
        assert other(case["text"])["input_ids"] == case["ids"]
        assert other.decode(case["ids"]) == case["decoded"]
    assert QwenTokenizer.load(tmp_path).encode("通义千问 1984") == qwen.encode("通义千问 1984")


def test_a_released_folder_loads(qwen: QwenTokenizer, vocabulary_file: Path, tmp_path: Path) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(vocabulary_file.read_bytes())
    assert QwenTokenizer.load(tmp_path).encode("hello 你好") == qwen.encode("hello 你好")


def test_a_vocabulary_cut_short_is_said(vocabulary_file: Path, tmp_path: Path) -> None:
    """Between two lines it looks whole: only the model's configuration knows better."""
    content = vocabulary_file.read_bytes()
    (tmp_path / "config.json").write_text('{"model_type": "qwen", "visual": {"image_start_id": 151857}}')
    lines = content.splitlines(keepends=True)
    for kept, says in (
        (content[:1_500_003], r"qwen\.tiktoken, line \d+: .*cut short"),
        (b"".join(lines[:1000]), r"qwen\.tiktoken: ends after line 1000, 150643 lines too early.*config\.json"),
        (b"".join(lines[:200]), r"qwen\.tiktoken: ends after line 200, and byte .* has no token"),
    ):
        (tmp_path / "qwen.tiktoken").write_bytes(kept)
        with pytest.raises(ValueError, match=says):
            QwenTokenizer.load(tmp_path)
    (tmp_path / "qwen.tiktoken").write_bytes(content)
    assert QwenTokenizer.load(tmp_path).img_start_id == 151857


def test_missing_and_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no tokenizer in"):
        QwenTokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"qwen\.tiktoken"):
        QwenTokenizer.from_tiktoken(tmp_path / "none")
    for second in ("Ig== one", "Ig== 2", "Ig==", "Ig", "%% 1", "IQ== 1", "Ig== 1 1", "=", "Y" * 4000 + " 1"):
        (tmp_path / "bad.tiktoken").write_text(f"IQ== 0\n{second}")
        with pytest.raises(ValueError, match=r"bad\.tiktoken, line 2: .* rank 1, found"):
            QwenTokenizer.from_tiktoken(tmp_path / "bad.tiktoken")
    (tmp_path / "bad.tiktoken").write_text("IQ== 0\n\nIg== 1\n")
    with pytest.raises(ValueError, match="byte 0x00"):
        QwenTokenizer.from_tiktoken(tmp_path / "bad.tiktoken")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": []}))
    with pytest.raises(ValueError, match="not a tokenizer"):
        QwenTokenizer.load(tmp_path)
    monkeypatch.setattr("qwenvl.text.vocabulary.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"qwenvl\[tokenizer\]"):
        QwenTokenizer.from_dashscope()
