"""The released form's `config.json` (`model_type` "qwen" with a `visual` block) and the native one, both ways."""

from __future__ import annotations

from typing import Any

import torch

from qwenvl.model.convert.files import ModelError

# The learned positions of the ViT are a 16x16 table in every released checkpoint, whatever the picture's size.
POSITION_GRID = 16
DEFAULT_QUERIES = 256

_TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "seq_length": 2048,
    "max_position_embeddings": 8192,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "use_cache": True,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
}
"""What has the same name in both forms, and what the published configuration class takes where it is absent."""

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_VISUAL = ("image_size", "patch_size", "width", "layers", "heads")


def is_released(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is in the released form."""
    return config.get("model_type") == "qwen"


def native_config(released: dict[str, Any]) -> dict[str, Any]:
    """The fields of `QwenVLConfig` from a released `config.json`; an absent one is as the published class has it.

    Raises ModelError for a text-only Qwen, which has no `visual` block, for a field that is missing or no number, and
    for options that no Qwen-VL uses.
    """
    visual = released.get("visual")
    if not isinstance(visual, dict):
        raise ModelError(
            "This config.json is of the text model Qwen (model_type 'qwen' without a 'visual' block), not of Qwen-VL. "
            "Use a Qwen-VL checkpoint."
        )
    text = {key: released.get(key, default) for key, default in _TEXT_DEFAULTS.items()}
    for key, default in _TEXT_DEFAULTS.items():
        if type(default) is int:
            _count(text, key, "config.json")
    for key in (*_VISUAL, "image_start_id"):
        _count(visual, key, "config.json: visual")
    width, ratio = visual["width"], visual.get("mlp_ratio")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 1000:
        raise ModelError(f"config.json: visual.mlp_ratio must be a number above 0, not {ratio!r}.")
    _check_options(released, visual, text)
    inner = _count({"intermediate_size": 22_016, **released}, "intermediate_size", "config.json")
    if inner % 2:
        raise ModelError(f"config.json: intermediate_size {inner} counts gate and up together, so it must be even.")
    start = visual["image_start_id"]
    dtype = released.get("torch_dtype") or released.get("dtype")
    shared = {key: text[key] for key in ("initializer_range", "tie_word_embeddings")}
    return {
        "model_type": "qwenvl",
        "vision_config": {
            **{key: visual[key] for key in _VISUAL},
            "mlp_width": int(width * ratio),
            "position_grid": POSITION_GRID,
        },
        "text_config": {
            **text,
            **{key: released[key] for key in _TOKENS if released.get(key) is not None},
            "intermediate_size": inner // 2,
            "rms_norm_eps": released.get("layer_norm_epsilon", 1e-6),
            "rope_theta": float(released.get("rotary_emb_base", 10_000)),
            "attention_dropout": released.get("attn_dropout_prob", 0.0),
        },
        "num_queries": _count({"n_queries": DEFAULT_QUERIES, **visual}, "n_queries", "config.json: visual"),
        "image_start_id": start,
        "image_end_id": start + 1,
        "image_slot_id": start + 2,
        **shared,
        **({"dtype": dtype} if dtype else {}),
    }


def _count(fields: dict[str, Any], key: str, where: str) -> int:
    value = fields.get(key)
    if type(value) is not int or not 0 < value < 1 << 31:
        missing = "it is missing" if key not in fields else f"not {value!r}"
        raise ModelError(f"{where}: {key} must be a whole number above 0; {missing}.")
    return value


def _check_options(released: dict[str, Any], visual: dict[str, Any], text: dict[str, Any]) -> None:
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    if hidden % heads:
        raise ModelError(f"config.json: hidden_size {hidden} cannot be split into {heads} heads.")
    for key, value in {"kv_channels": hidden // heads, "rotary_pct": 1.0, "no_bias": True}.items():
        if released.get(key, value) != value:
            raise ModelError(f"config.json: {key} is {released[key]}; Qwen-VL is defined for {value} only.")
    if visual.get("output_dim", hidden) != hidden:
        raise ModelError(
            f"config.json: visual.output_dim is {visual['output_dim']}, but hidden_size is {hidden}; they must agree."
        )


def released_config(config: Any) -> dict[str, Any]:
    """A released `config.json` from a `QwenVLConfig`.

    Raises ValueError for what that form cannot say: another decoder or tower, another positional grid, other adapter
    heads, other image ids. How a fresh model starts (`adapter_init`, the tower's `initializer_range`) is not kept.
    """
    vision, text = config.vision_config, config.text_config
    if (vision.model_type, text.model_type) != ("qwenvl_vision", "qwenvl_text"):
        raise ValueError(
            "The released form knows Qwen-VL's own tower and decoder only; this model has "
            f"{vision.model_type} and {text.model_type}. Save it natively."
        )
    start = config.image_start_id
    dtype = str(config.dtype or torch.float32).removeprefix("torch.")
    kinds = (getattr(vision, "model_type", None), getattr(text, "model_type", None))
    if kinds != ("qwenvl_vision", "qwenvl_text"):
        raise ModelError(
            f"The released form holds Qwen-VL's own tower and decoder only, not {kinds[0]} and {kinds[1]}. "
            "Save it natively."
        )
    facts = {
        "vision_config.position_grid": (vision.position_grid, POSITION_GRID),
        "adapter_heads": (config.adapter_heads, max(text.hidden_size // 128, 1)),
        "adapter_norm_eps": (config.adapter_norm_eps, 1e-6),
        "image_end_id": (config.image_end_id, start + 1),
        "image_slot_id": (config.image_slot_id, start + 2),
        "vision_config.layer_norm_eps": (vision.layer_norm_eps, 1e-6),
    }
    for name, (value, needed) in facts.items():
        if value != needed:
            raise ModelError(f"The released form fixes {name} to {needed}; this model has {value}. Save it natively.")
    visual = {key: getattr(vision, key) for key in _VISUAL}
    visual |= {"image_start_id": start, "mlp_ratio": _ratio(vision.mlp_width, vision.width)}
    visual |= {"output_dim": text.hidden_size}
    if config.num_queries != DEFAULT_QUERIES:
        visual["n_queries"] = config.num_queries
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "model_type": "qwen",
        **{key: getattr(text, key) for key in _TEXT_DEFAULTS},
        **{key: getattr(text, key) for key in _TOKENS if getattr(text, key) is not None},
        "intermediate_size": 2 * text.intermediate_size,
        "layer_norm_epsilon": text.rms_norm_eps,
        "rotary_emb_base": int(text.rope_theta) if float(text.rope_theta).is_integer() else text.rope_theta,
        "rotary_pct": 1.0,
        "kv_channels": text.head_dim,
        "no_bias": True,
        "attn_dropout_prob": text.attention_dropout,
        "emb_dropout_prob": 0.0,
        "scale_attn_weights": True,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "fp32": dtype == "float32",
        "torch_dtype": dtype,
        "tokenizer_class": "QWenTokenizer",
        "use_flash_attn": "auto",
        "visual": visual,
    }


def _ratio(mlp_width: int, width: int) -> float:
    """A short ratio that gives `mlp_width` when multiplied by `width` and cut to an integer (4.9231 for bigG)."""
    for digits in range(4, 12):
        for step in (0, 1):
            ratio = round(mlp_width / width + step * 10**-digits, digits)
            if int(width * ratio) == mlp_width:
                return ratio
    return mlp_width / width
