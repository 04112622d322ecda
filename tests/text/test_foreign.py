"""Other decoders' tokenizers with Qwen-VL's tokens: ids, text and back, files; no control token out of a text."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from qwenvl.sample import Image, Sample, Special, Text
from qwenvl.text.chatml import dialogue_sample
from qwenvl.text.foreign import ForeignTokenizer
from qwenvl.text.render import render
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import VISION_TOKENS
from tests.model import parts

TEXTS = (
    "Where is the red star?",
    "  two  spaces\n\n",
    "(12,345),(6,999)",
    "红色的星星 🙂 naïve",
    "",
    "▁",
    "a<img>b</img>",
)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    parts.tokenizer(tmp_path, bos="<|begin_of_text|>", eos="<|end_of_text|>")
    return tmp_path


@pytest.fixture
def sentencepiece(tmp_path: Path) -> Path:
    """Llama 2's form: bytes where a character is unknown, a mark for spaces, control tokens among the words."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "r", "e", "d", "re", "red"]
    merges = [("r", "e"), ("re", "d")]
    made = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    return tmp_path


@pytest.mark.parametrize("kind", ["llama", "sentencepiece"])
def test_text_there_and_back(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = ForeignTokenizer.extend(request.getfixturevalue(kind))
    for text in TEXTS[:-2]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([tokenizer.img_start_id, *[tokenizer.image_slot_id] * 3, tokenizer.img_end_id]) == (
        "<img></img>"
    )


@pytest.mark.parametrize("kind", ["llama", "sentencepiece"])
def test_no_text_gives_a_control_token(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = ForeignTokenizer.extend(request.getfixturevalue(kind))
    known = json.loads(tokenizer._content)["added_tokens"]
    for name in (*(token["content"] for token in known), "<|endoftext|>"):
        for text in (name, f"x {name}{name} y"):
            ids = tokenizer.encode(text)
            assert not any(tokenizer.is_special(number) for number in ids if number != tokenizer._specials.get("<unk>"))


def test_a_word_list_that_counts_control_tokens_among_its_words_gives_none(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "red": 3, "s": 4}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    tokenizer = ForeignTokenizer.extend(tmp_path)
    assert tokenizer.encode("red") == [3]
    assert tokenizer.encode("<s>") == [0, 4, 0]


def test_its_own_end_of_text_is_ours(llama: Path, sentencepiece: Path) -> None:
    tokenizer = ForeignTokenizer.extend(sentencepiece)
    assert tokenizer.eos_id == tokenizer.special("<|endoftext|>") == tokenizer.special("</s>") == 2
    assert tokenizer.new_ids[0] == tokenizer.im_start_id


def test_a_tokenizer_without_an_end_gets_one(llama: Path) -> None:
    (llama / "tokenizer_config.json").unlink()
    tokenizer = ForeignTokenizer.extend(llama)
    assert tokenizer.eos_id in tokenizer.new_ids and len(tokenizer.new_ids) == len(VISION_TOKENS) + 3


def test_every_sample_begins_as_the_decoder_is_used_to(llama: Path) -> None:
    tokenizer = ForeignTokenizer.extend(llama)
    assert tokenizer.bos_id == tokenizer.special("<|begin_of_text|>")
    picture = Image(b"", 10, 10)
    example = render(Sample((picture, Text("red", True), Special("<|endoftext|>", True)), "caption"), tokenizer, 2)
    assert example.ids[:5] == [
        tokenizer.bos_id, tokenizer.img_start_id, *[tokenizer.image_slot_id] * 2, tokenizer.img_end_id
    ]  # fmt: skip
    assert example.slots[0].start == 2 and example.labels[:5] == [-100] * 5 and example.labels[5:] == example.ids[5:]
    assert example.ids[-1] == tokenizer.eos_id


@pytest.mark.parametrize("kind", ["llama", "sentencepiece"])
def test_saved_loaded_and_pickled_it_is_the_same(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    tokenizer = ForeignTokenizer.extend(request.getfixturevalue(kind))
    tokenizer.save(tmp_path / "saved")
    for again in (QwenTokenizer.load(tmp_path / "saved"), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(again, ForeignTokenizer)
        assert (again.vocab_size, again.bos_id, again.eos_id) == (
            tokenizer.vocab_size,
            tokenizer.bos_id,
            tokenizer.eos_id,
        )
        assert all(again.special(name) == tokenizer.special(name) for name in (*VISION_TOKENS, "<|im_end|>"))
        assert all(again.encode(text) == tokenizer.encode(text) for text in TEXTS)


def test_transformers_chat_template_gives_the_renderers_ids(llama: Path, tmp_path: Path) -> None:
    tokenizer = ForeignTokenizer.extend(llama)
    tokenizer.save(tmp_path / "saved")
    fast = AutoTokenizer.from_pretrained(tmp_path / "saved")
    ids = fast.apply_chat_template(
        [{"role": "user", "content": "Where?"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    from qwenvl.sample import Turn

    assert list(ids) == render(dialogue_sample([Turn("user", (Text("Where?"),))], reply=True), tokenizer).ids


def test_errors_name_the_file(tmp_path: Path, llama: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*save_pretrained"):
        ForeignTokenizer.extend(tmp_path / "nothing")
    tokenizer = ForeignTokenizer.extend(llama)
    tokenizer.save(tmp_path / "saved")
    (tmp_path / "saved" / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is missing"):
        QwenTokenizer.load(tmp_path / "saved")
    (llama / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json can't be extended"):
        ForeignTokenizer.extend(llama)
