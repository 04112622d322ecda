"""A Qwen-VL from trained parts (paper, section 3.1): a vision tower, a decoder, and a fresh adapter between them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from qwenvl.model.adapter import PositionAwareAdapter
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.load import quietly
from qwenvl.model.parts import ForeignDecoder, ForeignTower
from qwenvl.model.parts_read import InitError, Language, Vision, read_language, read_vision
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer


def init(
    vision: str | Path,
    language: str | Path,
    out: str | Path,
    image_size: int | None = None,
    queries: int = 256,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> QwenVLForConditionalGeneration:
    """Join a vision tower and a decoder; write the folder `out`, which `load`, `train` (as `init`) and `chat` read.

    `vision` is an OpenCLIP checkpoint (a file or its folder) or a folder of a vision tower that transformers knows;
    `language` a released Qwen (Qwen-7B) or a folder of a causal decoder that transformers knows. `image_size` is by
    default 448 for OpenCLIP's ViTs, as published, and a tower's own for others. `dtype` is by default the decoder's.
    Raises InitError; nothing is left behind then.
    """
    out, temporary = Path(out), Path(out).with_name(f".{Path(out).name}.part")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InitError(f"{out} is not empty: choose another folder for the new model")
    with quietly(), _without_reports():
        words = read_language(Path(language), dtype)
        model = join(read_vision(Path(vision), image_size), words, queries, seed)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            model.save_pretrained(temporary, max_shard_size="5GB")
            QwenVLProcessor(words.tokenizer, model.config).save_pretrained(temporary)
            if out.exists():
                out.rmdir()
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return model


def join(vision: Vision, language: Language, queries: int = 256, seed: int = 0) -> QwenVLForConditionalGeneration:
    """The two parts as one model with a randomly started adapter, in the decoder's type. They are taken, not copied.

    Raises InitError when widths do not fit, or a foreign part does not do what a tower or a decoder must.
    """
    tokenizer, dtype = language.tokenizer, language.head.weight.dtype
    ends = {"eos_token_id": [tokenizer.eos_id, tokenizer.im_end_id], "pad_token_id": tokenizer.eos_id}
    try:
        config = QwenVLConfig(
            vision_config=vision.config,
            text_config=language.config,
            num_queries=queries,
            tower_mean=vision.mean,
            tower_std=vision.std,
            image_start_id=tokenizer.img_start_id,
            image_end_id=tokenizer.img_end_id,
            image_slot_id=tokenizer.image_slot_id,
            dtype=dtype,
        )
    except ValueError as error:
        raise InitError(f"these parts do not fit: {error}") from None
    # The places of the parts: nothing is allocated where trained weights come in.
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(config)
    if isinstance(model.model.vision_tower, ForeignTower):
        model.model.vision_tower.model = vision.tower.to(dtype)
        _check_tower(model.model.vision_tower, config.vision_config.image_size)
    else:
        model.model.vision_tower = vision.tower.to(dtype)
    if isinstance(model.model.language_model, ForeignDecoder):
        model.model.language_model.model = language.decoder
    else:
        model.model.language_model = language.decoder
    torch.manual_seed(seed)
    model.model.adapter = PositionAwareAdapter(config).apply(model._init_weights).to(dtype)
    model.lm_head.weight = language.head.weight
    model.tie_weights()
    model.generation_config.update(**ends)
    for part in (config.vision_config, config.text_config):
        # where the part was read from is no business of who reads the whole
        part._name_or_path = ""
    model.eval()
    if isinstance(model.model.language_model, ForeignDecoder):
        _check_decoder(model, tokenizer)
    return model


def _check_tower(tower: ForeignTower, side: int) -> None:
    """One picture through a tower whose form is not known: raises InitError when it gives no vector per patch."""
    try:
        with torch.no_grad():
            tower(torch.zeros(1, 3, side, side))
    except (ValueError, RuntimeError, TypeError) as error:
        raise InitError(f"--vision: {tower.config.model_type} can't be the vision tower: {error}") from None


def _check_decoder(model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer) -> None:
    """Two words of a decoder whose form is not known, with its cache: raises InitError when it can't answer."""
    try:
        ids = torch.tensor([tokenizer.encode("What is it?")])
        with torch.no_grad():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise InitError(f"--language: {model.config.text_config.model_type} can't be the decoder: {error}") from None


@contextmanager
def _without_reports() -> Iterator[None]:
    """Without transformers' list of tensors that a part does not need (a text tower's, beside the vision tower's)."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
