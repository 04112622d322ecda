"""The processor: pixels, placeholders to slots, plain text that stays plain, saving and loading."""

from __future__ import annotations

import base64
import inspect
import json
import pickle
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from transformers import AutoProcessor, ProcessorMixin

from qwenvl.data.images import ImageError, load_image
from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration, QwenVLProcessor
from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD, pixel_values
from qwenvl.sample import Image
from qwenvl.text.chatml import CHAT_TEMPLATE
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS
from tests.model.helpers import GOLDEN, OFFICIAL, small_config
from tests.text import conftest as of_texts

fill_slots = of_texts.fill_slots


def config_for(tokenizer: QwenTokenizer) -> QwenVLConfig:
    """The small configuration with a tokenizer's ids."""
    config = small_config(text={"vocab_size": tokenizer.vocab_size})
    config.image_start_id, config.image_end_id = tokenizer.img_start_id, tokenizer.img_end_id
    config.image_slot_id = tokenizer.image_slot_id
    return config


@pytest.fixture(scope="module")
def processor() -> QwenVLProcessor:
    tokenizer = QwenTokenizer.train_small(["Where is the star? Picture 1: (1,2),(3,4)"], 300)
    return QwenVLProcessor(tokenizer, config_for(tokenizer))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released vocabulary beside a configuration of the released form and size."""
    spec = find_spec("dashscope")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip('needs Qwen\'s vocabulary, which the package dashscope carries: pip install "qwenvl[tokenizer]"')
    folder = tmp_path_factory.mktemp("released")
    config = json.loads((OFFICIAL / "config.json").read_text(encoding="utf-8"))
    config["visual"] |= {"image_start_id": 151_857, "image_size": 448, "n_queries": 256}
    config["vocab_size"] = 151_936
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "qwen.tiktoken").symlink_to(Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken")
    return folder


def test_pixels_are_squashed_and_normalised() -> None:
    picture = PILImage.new("RGB", (30, 10), (255, 0, 51))
    got = pixel_values([picture, Image(picture, 30, 10)], 16)
    assert got.shape == (2, 3, 16, 16) and got.dtype == torch.float32 and got.is_contiguous()
    wanted = [(v - m) / s for v, m, s in zip((1.0, 0.0, 0.2), CLIP_MEAN, CLIP_STD, strict=True)]
    assert got[:, :, 3, 4].tolist() == [pytest.approx(wanted, abs=1e-6)] * 2
    assert pixel_values([], 16).shape == (0, 3, 16, 16)


def test_the_quick_way_is_close(tmp_path: Path) -> None:
    y, x = np.mgrid[0:400, 0:600]
    pattern = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), (x * y / 900) % 256], -1)
    picture = PILImage.fromarray(pattern.astype(np.uint8))
    photo = tmp_path / "photo.jpg"
    picture.resize((1800, 1200)).save(photo, quality=90)
    images = [Image(picture, 600, 400), load_image(photo), Image(picture.rotate(5), 600, 400)]
    exact, fast = pixel_values(images, 112), pixel_values(images, 112, fast=True)
    assert fast.shape == exact.shape and not fast.equal(exact)
    levels = (fast - exact).abs() * torch.tensor(CLIP_STD)[:, None, None] * 255
    assert levels.max() < 12 and levels.mean() < 0.6
    assert pixel_values([], 16, fast=True).shape == (0, 3, 16, 16)


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
    with pytest.raises(ValueError, match="different lengths"):
        processor(["a", "a a a"], padding=False)
    with pytest.raises(ValueError, match="truncation=True"):
        processor("a", truncation=True)
    with pytest.raises(ValueError, match="not of the same checkpoint"):
        QwenVLProcessor(processor.tokenizer, small_config())
    broken = picture.with_name("broken.png")
    broken.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"broken\.png"):
        processor("<img></img>", broken)


def test_padding(processor: QwenVLProcessor) -> None:
    short, long = processor.tokenizer.encode("a"), processor.tokenizer.encode("star star")
    gap = [processor.tokenizer.eos_id] * (len(long) - len(short))
    right = processor(["a", "star star"], padding_side="right")
    assert right["input_ids"].tolist() == [short + gap, long]
    assert right["attention_mask"].tolist() == [[1] * len(short) + [0] * len(gap), [1] * len(long)]
    assert processor(["a", "star star"], padding=False, return_tensors=None)["input_ids"] == [short, long]
    assert processor(text="a", padding="longest", add_special_tokens=True, truncation=False)["input_ids"].tolist() == [
        short
    ]


def test_a_text_never_opens_what_it_names(processor: QwenVLProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    given = PILImage.new("RGB", (8, 8))
    monkeypatch.setattr(PILImage, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    text = "<img>/etc/passwd</img> <img>https://example.org/a.png</img>"
    batch = processor(text=[text], images=[given, given], return_tensors="pt")
    assert processor.decode(batch["input_ids"][0]) == "<img></img> <img></img>"


def test_trusted_text_has_its_special_tokens(processor: QwenVLProcessor, picture: Path) -> None:
    text = "<|im_start|>user\nPicture 1: <img></img>\n<box>(1,2<|im_end|>\n"
    ids = processor(text, picture, split_special_tokens=False)["input_ids"][0].tolist()
    filled = text.replace("<img></img>", processor.replace_image_token())
    assert ids == processor.tokenizer.encode_with_specials(filled)


SPELT = st.lists(st.sampled_from([*SPECIAL_TOKENS, "a", " ", "\n", "狗"]), max_size=6).map("".join)


@given(SPELT)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_words_never_become_special(processor: QwenVLProcessor, words: str) -> None:
    """Tags that form no whole picture, phrase or place are words; of messages nothing but the form is special."""
    special = processor.tokenizer.is_special
    loose = "".join(token for token in words if token not in "<>") if "</" in words else words
    assert not any(special(number) for number in processor(loose)["input_ids"][0].tolist())
    image = PILImage.new("RGB", (8, 8))

    def controls(said: str) -> list[int]:
        messages = [
            {"role": "system", "content": said},
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": said}]},
            {"role": "assistant", "content": said.replace("</", "")},
            {"role": "user", "content": said},
        ]
        ids = processor.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)[0].tolist()
        return [number for number in ids if special(number)]

    assert controls(words) == controls("dog")


def test_messages_are_the_dialogue(processor: QwenVLProcessor, picture: Path) -> None:
    answer = "<ref>star</ref><box>(1,2),(300,999)</box>"
    url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    messages = [
        {"role": "user", "content": [{"type": "image", "path": picture}, {"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "image"}]},
    ]
    form = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nPicture 1: <img></img>\nWhere?<|im_end|>\n"
        f"<|im_start|>assistant\n{answer}<|im_end|>\n"
        "<|im_start|>user\nPicture 2: <img></img>\nPicture 3: <img></img>\n<|im_end|>\n<|im_start|>assistant\n"
    )
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == form
    batch = processor.apply_chat_template(
        [messages, messages[:1]], tokenize=True, add_generation_prompt=True, return_dict=True, images=str(picture)
    )
    assert batch["pixel_values"].shape[0] == 4 and batch["attention_mask"][1, 0] == 0
    assert processor.decode(batch["input_ids"][0]) == form
    again = processor(form, [picture] * 3, split_special_tokens=False)
    assert batch["input_ids"][0].tolist() == again["input_ids"][0].tolist()
    user = [messages[0], {"role": "user", "content": answer}]
    for sanitize in (True, False):
        ids = processor.apply_chat_template(user, tokenize=True, sanitize_control_tokens=sanitize)[0].tolist()
        assert (processor.tokenizer.box_start_id in ids) is not sanitize


def test_messages_that_are_wrong(processor: QwenVLProcessor, picture: Path) -> None:
    def said(*items: object, **options: object) -> None:
        processor.apply_chat_template([{"role": "user", "content": list(items)}], tokenize=True, **options)  # type: ignore[arg-type]

    for item, says in (
        ({"type": "image", "path": str(picture)}, "message 0, item 0: .*never opened"),
        ({"type": "image", "url": "https://example.org/a.png"}, "message 0, item 0: .*fetch"),
        ({"type": "image"}, "`images` holds no more"),
        ({"type": "video"}, "message 0, item 0: expected"),
        ({"type": "text"}, "message 0, item 0: expected"),
        ("words", "message 0, item 0: expected"),
    ):
        with pytest.raises(ValueError, match=says):
            said(item)
    said({"type": "image", "url": "https://example.org/a.png"}, fetch=lambda _: picture.read_bytes())
    with pytest.raises(ValueError, match="1 more than"):
        said({"type": "image"}, images=[picture, picture])
    with pytest.raises(ValueError, match="message 0: expected"):
        processor.apply_chat_template(["words"], tokenize=True)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="role 'tool'"):
        processor.apply_chat_template([{"role": "tool", "content": ""}], tokenize=True)
    with pytest.raises(ValueError, match="continue_final_message"):
        processor.apply_chat_template([], continue_final_message=True)


def test_what_engines_on_transformers_ask(processor: QwenVLProcessor, picture: Path) -> None:
    assert isinstance(processor, ProcessorMixin) and processor.chat_template == CHAT_TEMPLATE
    counts = processor._get_num_multimodal_tokens(image_sizes=[(10, 20), (5, 5)])
    assert counts["num_image_tokens"] == [4, 4] and counts["num_image_patches"] == [1, 1]
    text = f"a {processor.image_token}b{processor.image_token}"
    batch = processor(
        text=text, images=[picture] * 2, return_mm_token_type_ids=True, return_text_replacement_offsets=True
    )
    slots = batch["input_ids"] == processor.image_token_id
    assert torch.equal(batch["mm_token_type_ids"], slots.long()) and slots.sum() == 8
    ((first, second),) = batch["text_replacement_offsets"]
    new = processor.replace_image_token(batch, image_idx=0)
    assert processor.tokenizer.encode_with_specials(new).count(processor.image_token_id) == 4
    expanded = text.replace(processor.image_token, new)
    for found in (first, second):
        start, end = found["new_span"]
        assert found["type"] == "image" and expanded[start:end] == found["replacement"] == new
        assert text[slice(*found["span"])] == found["text"] == processor.image_token
    assert processor.image_processor([picture, picture])["pixel_values"].equal(batch["pixel_values"])
    assert processor.post_process_image_text_to_text(batch["input_ids"], skip_special_tokens=False) == [text]
    assert "image_size=32" in repr(processor) and pickle.loads(pickle.dumps(processor)).num_queries == 4


def test_by_name_from_the_cache(processor: QwenVLProcessor, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--model" / "snapshots" / ("0" * 40)
    processor.save_pretrained(snapshot)
    (snapshot / "config.json").write_text('{"model_type": "qwenvl"}')
    (tmp_path / "models--owner--model" / "refs").mkdir()
    (tmp_path / "models--owner--model" / "refs" / "main").write_text("0" * 40)
    options = {"cache_dir": tmp_path, "local_files_only": True}
    again = QwenVLProcessor.from_pretrained("owner/model", **options)
    assert again("star")["input_ids"].tolist() == processor("star")["input_ids"].tolist()
    with pytest.raises(OSError, match="owner/other"):
        QwenVLProcessor.from_pretrained("owner/other", **options)


def test_a_released_folder(qwen_folder: Path, golden: dict[str, Any], fill_slots: Any, picture: Path) -> None:
    """As the released checkpoints are: config.json of their form, qwen.tiktoken, nothing else."""
    for processor in (QwenVLProcessor.from_pretrained(qwen_folder), AutoProcessor.from_pretrained(qwen_folder)):
        assert (processor.image_size, processor.num_queries) == (448, 256)
        for case in golden["images"]:
            shown = case["text"].count("<img>")
            ids = processor(text=[case["text"]], images=[picture] * shown)["input_ids"][0].tolist()
            assert ids == fill_slots(case["ids"], processor.tokenizer)
            assert "<imgpad>" not in processor.decode(case["ids"])
    for case in golden["chat"]:
        said = [
            *(pair for q, a in case["history"] for pair in (("user", q), ("assistant", a))),
            ("user", case["query"]),
        ]
        messages = [{"role": "system", "content": case["system"]}]
        for role, value in said:
            pieces = re.split(r"Picture \d+: <img>.*?</img>\n", value)
            content: list[dict[str, str]] = [{"type": "text", "text": pieces[0]}]
            content += [item for piece in pieces[1:] for item in ({"type": "image"}, {"type": "text", "text": piece})]
            messages.append({"role": role, "content": content})
        shown = sum(item["type"] == "image" for message in messages[1:] for item in message["content"])
        ids = processor.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, images=[picture] * shown
        )
        assert ids[0].tolist() == fill_slots(case["ids"], processor.tokenizer)
        assert re.sub("<img>.*?</img>", "<img></img>", case["text"]) == processor.apply_chat_template(
            messages, add_generation_prompt=True
        )


def test_transformers_own_tokenizer_can_be_kept_from_smuggling(processor: QwenVLProcessor) -> None:
    tokenizer = processor.tokenizer.to_transformers()
    if "sanitize_control_tokens" not in inspect.signature(tokenizer.apply_chat_template).parameters:
        pytest.skip("this transformers has no sanitize_control_tokens")
    said = "".join(SPECIAL_TOKENS)
    ids, plain = (
        tokenizer.apply_chat_template([{"role": "user", "content": text}], sanitize_control_tokens=True)["input_ids"]
        for text in (said, "dog")
    )
    special = processor.tokenizer.is_special
    assert [number for number in ids if special(number)] == [number for number in plain if special(number)]
    assert processor.decode(ids) == processor.apply_chat_template([{"role": "user", "content": said}])


def test_save_and_load(processor: QwenVLProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    QwenVLForConditionalGeneration(config_for(processor.tokenizer)).save_pretrained(tmp_path)
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
    model = QwenVLForConditionalGeneration(config_for(processor.tokenizer)).eval()
    batch = processor(["<img></img>Where is the star?", "Where?"], [picture])
    new = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert new.shape == (2, batch["input_ids"].shape[1] + 3)
    assert len(processor.batch_decode(new)) == 2
