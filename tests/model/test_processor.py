"""The processor: pixels, placeholders to slots, plain text that stays plain, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from transformers import AutoProcessor

from qwenvl.model import QwenVLForConditionalGeneration, QwenVLProcessor
from qwenvl.model.processor import CLIP_MEAN, CLIP_STD, pixel_values
from qwenvl.sample import Image
from qwenvl.text.tokenizer import QwenTokenizer
from tests.model.helpers import small_config


@pytest.fixture(scope="module")
def processor() -> QwenVLProcessor:
    tokenizer = QwenTokenizer.train_small(["Where is the star? Picture 1: (1,2),(3,4)"], 300)
    return QwenVLProcessor(tokenizer, small_config())


def test_pixels_are_squashed_and_normalised() -> None:
    picture = PILImage.new("RGB", (30, 10), (255, 0, 51))
    got = pixel_values([picture, Image(picture, 30, 10)], 16)
    assert got.shape == (2, 3, 16, 16) and got.dtype == torch.float32 and got.is_contiguous()
    wanted = [(v - m) / s for v, m, s in zip((1.0, 0.0, 0.2), CLIP_MEAN, CLIP_STD, strict=True)]
    assert got[:, :, 3, 4].tolist() == [pytest.approx(wanted, abs=1e-6)] * 2
    assert pixel_values([], 16).shape == (0, 3, 16, 16)


def test_placeholders_become_slots(processor: QwenVLProcessor, picture: Path) -> None:
    tokenizer = processor.tokenizer
    array = np.zeros((8, 8, 3), dtype=np.uint8)
    batch = processor(
        ["Picture 1: <img></img>\nWhere?", "<img>a.png</img>star <img></img>"], [picture, array, str(picture)]
    )
    assert batch["pixel_values"].shape == (3, 3, 32, 32)
    first = batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist()
    slots = [tokenizer.img_start_id, *[tokenizer.image_slot_id] * 4, tokenizer.img_end_id]
    assert first == [*tokenizer.encode("Picture 1: "), *slots, *tokenizer.encode("\nWhere?")]
    assert processor.decode(first) == "Picture 1: <img></img>\nWhere?"
    second = batch["input_ids"][1].tolist()
    assert second == [*slots, *tokenizer.encode("star "), *slots]
    # Padding stands on the left.
    assert batch["attention_mask"][0].tolist() == sorted(batch["attention_mask"][0].tolist())


def test_places_are_understood_and_the_rest_is_words(processor: QwenVLProcessor, picture: Path) -> None:
    tokenizer = processor.tokenizer
    text = "<img></img><ref>star</ref><box>(1,2),(300,999)</box>"
    ids = processor(text, picture)["input_ids"][0].tolist()
    assert ids[6:] == tokenizer.encode_with_specials("<ref>star</ref><box>(1,2),(300,999)</box>")
    for hostile in ("<|im_end|>", "<|endoftext|>", "<box>(1,2", "</ref>", "<imgpad>", "<img>"):
        ids = processor(hostile)["input_ids"][0].tolist()
        assert ids == tokenizer.encode(hostile)
        assert not any(tokenizer.is_special(number) for number in ids)


def test_numbers_must_agree(processor: QwenVLProcessor, picture: Path) -> None:
    with pytest.raises(ValueError, match="2 <img></img> placeholders, but 1"):
        processor("<img></img><img></img>", [picture])
    with pytest.raises(ValueError, match="before any picture"):
        processor("<box>(1,2),(3,4)</box>")
    with pytest.raises(ValueError, match="return_tensors"):
        processor("a", return_tensors="tf")


def test_save_and_load(processor: QwenVLProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    QwenVLForConditionalGeneration(small_config()).save_pretrained(tmp_path)
    for again in (QwenVLProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert isinstance(again, QwenVLProcessor)
        assert (again.image_size, again.num_queries) == (32, 4)
        assert again("Where is it?")["input_ids"].tolist() == processor("Where is it?")["input_ids"].tolist()
    (tmp_path / "processor_config.json").unlink()
    assert QwenVLProcessor.from_pretrained(tmp_path).num_queries == 4
    (tmp_path / "processor_config.json").write_text("{}")
    with pytest.raises(ValueError, match="image_size and num_queries"):
        QwenVLProcessor.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="tokenizer"):
        QwenVLProcessor.from_pretrained(tmp_path / "nowhere")


def test_inputs_go_into_generate(processor: QwenVLProcessor, picture: Path) -> None:
    torch.manual_seed(0)
    config = small_config(text={"vocab_size": processor.tokenizer.vocab_size})
    config.image_start_id = processor.tokenizer.img_start_id
    config.image_end_id = processor.tokenizer.img_end_id
    config.image_slot_id = processor.tokenizer.image_slot_id
    model = QwenVLForConditionalGeneration(config).eval()
    batch = processor(["<img></img>Where is the star?", "Where?"], [picture])
    new = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert new.shape == (2, batch["input_ids"].shape[1] + 3)
    assert len(processor.batch_decode(new)) == 2
