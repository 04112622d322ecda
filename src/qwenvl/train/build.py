"""A recipe's model: from its sizes with random weights, or from a checkpoint; and the precision that pays here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from qwenvl.config import ConfigError, ModelSpec, Stage
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.load import quietly, resolve
from qwenvl.model.parts import ForeignDecoder
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer


def build_model(spec: ModelSpec, tokenizer: QwenTokenizer) -> QwenVLForConditionalGeneration:
    """A model of the recipe's sizes with random weights (torch's current seed)."""
    config = build_config(spec, tokenizer)
    if not torch.cuda.is_available():
        # of all attention functions this one trains fastest on a CPU
        config._attn_implementation = "matmul"
    return QwenVLForConditionalGeneration(config)


def build_config(spec: ModelSpec, tokenizer: QwenTokenizer) -> QwenVLConfig:
    """The recipe's sizes and the tokenizer's ids as the model's configuration.

    Raises ConfigError for sizes that do not fit.
    """
    vision, adapter, decoder = spec.vision, spec.adapter, spec.decoder
    try:
        return QwenVLConfig(
            vision_config={
                "image_size": spec.image_size,
                "patch_size": vision.patch_size,
                "width": vision.width,
                "layers": vision.layers,
                "heads": vision.heads,
                "mlp_width": vision.mlp,
                "position_grid": vision.position_grid,
                "initializer_range": spec.initializer_range,
            },
            text_config={
                "vocab_size": tokenizer.vocab_size,
                "hidden_size": decoder.width,
                "intermediate_size": decoder.mlp,
                "num_hidden_layers": decoder.layers,
                "num_attention_heads": decoder.heads,
                "initializer_range": spec.initializer_range,
                "eos_token_id": tokenizer.eos_id,
                "pad_token_id": tokenizer.eos_id,
            },
            initializer_range=spec.initializer_range,
            num_queries=adapter.queries,
            adapter_heads=adapter.heads,
            adapter_init=adapter.init,
            image_start_id=tokenizer.img_start_id,
            image_end_id=tokenizer.img_end_id,
            image_slot_id=tokenizer.image_slot_id,
            tie_word_embeddings=decoder.tie,
        )
    except ValueError as error:
        raise ConfigError(f"the recipe's model: {error}") from None


def resolve_precision(wish: Literal["auto", "float32", "bfloat16"]) -> torch.dtype:
    """The type for matrix products.

    "auto" takes bfloat16 on a GPU, and on a CPU where it is measured to be 1.5 times as fast.
    """
    if wish != "auto":
        return torch.float32 if wish == "float32" else torch.bfloat16
    if torch.cuda.is_available():
        return torch.bfloat16
    return torch.bfloat16 if _product_time(torch.float32) > 1.5 * _product_time(torch.bfloat16) else torch.float32


def _product_time(dtype: torch.dtype) -> float:
    rows, weight = torch.randn(4096, 128).to(dtype), torch.randn(512, 128).to(dtype)
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[5:])


def check_packing(model: QwenVLForConditionalGeneration, stages: Sequence[Stage]) -> None:
    """Try whether a foreign decoder takes the masks of packed rows. Raises ConfigError when it does not."""
    decoder = model.model.language_model
    if not isinstance(decoder, ForeignDecoder):
        return
    kind = decoder.config.model_type
    try:
        apart = decoder.isolates()
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"init: the decoder {kind} takes no mask of packed rows and can't be trained: {error}"
        ) from None
    wishes = [stage.name for stage in stages if stage.isolate]
    if wishes and not apart:
        raise ConfigError(
            f"{wishes[0]}: the decoder {kind} does not keep packed samples apart, its state runs on through a row: "
            f"set stages.{wishes[0]}.isolate=false"
        )


def start_from(name: str | Path) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """A checkpoint's weights (a folder, or "nano") and its tokenizer, to be trained further.

    Raises ConfigError when it can't be read.
    """
    try:
        folder = resolve(name)
        with quietly():
            model = QwenVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        return model, QwenTokenizer.load(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"init: {name} can't be loaded as a checkpoint: {error}") from None
