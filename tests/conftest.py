"""Shared fixtures: a tiny model with random weights in a folder, as training would leave it, and a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage

from qwenvl.text.tokenizer import QwenTokenizer

TEXTS = (
    "Where is the red star? What color is the digit? a large blue circle and a green sign",
    "(0,1),(2,3),(456,789) Picture 1: user assistant system You are a helpful assistant. Answer: yes no",
    "红色的星星在哪里？有几个物体？用中文生成图片描述：一个蓝色的大圆形。回答：",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the Hugging Face Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of a few thousand random numbers: 4 slots a picture, 32 px, two decoder layers."""
    from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = QwenTokenizer.train_small(TEXTS, 400)
    config = QwenVLConfig(
        vision_config={
            "image_size": 32,
            "patch_size": 8,
            "width": 16,
            "layers": 1,
            "heads": 2,
            "mlp_width": 32,
            "position_grid": 4,
        },
        text_config={
            "vocab_size": tokenizer.vocab_size,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "seq_length": 512,
            "eos_token_id": tokenizer.eos_id,
            "pad_token_id": tokenizer.eos_id,
            # Large enough that greedy answers depend on the question.
            "initializer_range": 0.5,
        },
        num_queries=4,
        adapter_heads=2,
        image_start_id=tokenizer.img_start_id,
        image_end_id=tokenizer.img_end_id,
        image_slot_id=tokenizer.image_slot_id,
    )
    torch.manual_seed(0)
    QwenVLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG of 60 × 40 pixels with a red square."""
    path = tmp_path / "picture.png"
    image = PILImage.new("RGB", (60, 40), "white")
    image.paste((220, 40, 40), (10, 5, 30, 25))
    image.save(path)
    return path
