"""The released form of Qwen-VL (`model_type` "qwen" with a `visual` block): configuration and tensors, both ways.

`register()` tells transformers how the tensors map, so `from_pretrained` reads a released folder straight into place,
shard by shard; `released_state_dict` is the way back, used by `save_pretrained(form="released")`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import (
    Chunk,
    Concatenate,
    ConversionOps,
    Transpose,
    WeightConverter,
    WeightRenaming,
)

# The learned positions of the ViT are a 16x16 table in every released checkpoint, whatever the picture's size.
POSITION_GRID = 16
DEFAULT_QUERIES = 256


def is_released(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is in the released form."""
    return config.get("model_type") == "qwen"


def native_config(released: dict[str, Any]) -> dict[str, Any]:
    """The fields of `QwenVLConfig` from a released `config.json`.

    Raises ValueError for a text-only Qwen, which has no `visual` block, and for options that no Qwen-VL uses.
    """
    if "visual" not in released:
        raise ValueError(
            "This config.json is of the text model Qwen (model_type 'qwen' without a 'visual' block), not of Qwen-VL."
        )
    visual = released["visual"]
    hidden, heads = released["hidden_size"], released["num_attention_heads"]
    expected = {"kv_channels": hidden // heads, "rotary_pct": 1.0, "no_bias": True}
    for key, value in expected.items():
        if released.get(key, value) != value:
            raise ValueError(f"config.json: {key} is {released[key]}; Qwen-VL is defined for {value} only.")
    if visual["output_dim"] != hidden:
        raise ValueError(
            f"config.json: visual.output_dim is {visual['output_dim']}, but hidden_size is {hidden}; they must agree."
        )
    start = visual["image_start_id"]
    shared: dict[str, Any] = {
        key: released[key] for key in ("initializer_range", "tie_word_embeddings") if key in released
    }
    kept: tuple[str, ...] = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "seq_length",
        "use_cache",
    )
    kept += ("max_position_embeddings", "use_dynamic_ntk", "use_logn_attn")
    text = {key: released[key] for key in kept if key in released}
    return {
        "model_type": "qwenvl",
        "vision_config": {
            **{key: visual[key] for key in ("image_size", "patch_size", "width", "layers", "heads")},
            "mlp_width": int(visual["width"] * visual["mlp_ratio"]),
            "position_grid": POSITION_GRID,
        },
        "text_config": {
            **text,
            **shared,
            # The released number counts gate and up together.
            "intermediate_size": released["intermediate_size"] // 2,
            "rms_norm_eps": released.get("layer_norm_epsilon", 1e-6),
            "rope_theta": float(released.get("rotary_emb_base", 10_000)),
        },
        "num_queries": visual.get("n_queries", DEFAULT_QUERIES),
        "image_start_id": start,
        "image_end_id": start + 1,
        "image_slot_id": start + 2,
        **shared,
        **({"dtype": released["torch_dtype"]} if released.get("torch_dtype") else {}),
    }


def released_config(config: Any) -> dict[str, Any]:
    """A released `config.json` from a `QwenVLConfig`.

    Raises ValueError for what that form cannot say: another positional grid, other adapter heads, other image ids.
    """
    vision, text = config.vision_config, config.text_config
    if (vision.model_type, text.model_type) != ("qwenvl_vision", "qwenvl_text"):
        raise ValueError(
            "The released form knows Qwen-VL's own tower and decoder only; this model has "
            f"{vision.model_type} and {text.model_type}. Save it natively."
        )
    start = config.image_start_id
    dtype = str(config.dtype or torch.float32).removeprefix("torch.")
    facts = {
        "vision_config.position_grid": (vision.position_grid, POSITION_GRID),
        "adapter_heads": (config.adapter_heads, max(text.hidden_size // 128, 1)),
        "image_end_id": (config.image_end_id, start + 1),
        "image_slot_id": (config.image_slot_id, start + 2),
        "vision_config.layer_norm_eps": (vision.layer_norm_eps, 1e-6),
    }
    for name, (value, needed) in facts.items():
        if value != needed:
            raise ValueError(f"The released form fixes {name} to {needed}; this model has {value}. Save it natively.")
    visual = {key: getattr(vision, key) for key in ("heads", "image_size", "layers", "patch_size", "width")}
    visual |= {"image_start_id": start, "mlp_ratio": _ratio(vision.mlp_width, vision.width)}
    visual |= {"output_dim": text.hidden_size}
    if config.num_queries != DEFAULT_QUERIES:
        visual["n_queries"] = config.num_queries
    kept: tuple[str, ...] = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "seq_length",
        "use_cache",
    )
    kept += ("max_position_embeddings", "use_dynamic_ntk", "use_logn_attn", "initializer_range", "tie_word_embeddings")
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "model_type": "qwen",
        **{key: getattr(text, key) for key in kept},
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


class HeadsFirst(ConversionOps):  # type: ignore[misc]
    """The ViT's q, k, v: the released layer stores them head by head (heads, 3, dim), ours one after the other."""

    def __init__(self, back: bool = False) -> None:
        self.back = back

    @torch.no_grad()
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Re-order the rows of one weight or bias."""
        (tensors,) = input_dict.values()
        tensor: Tensor = tensors[0] if isinstance(tensors, list) else tensors
        return {target_patterns[0]: reorder_heads(tensor, kwargs["config"].vision_config.heads, self.back)}

    @property
    def reverse_op(self) -> ConversionOps:
        """The way back."""
        return HeadsFirst(not self.back)


def reorder_heads(tensor: Tensor, heads: int, back: bool = False) -> Tensor:
    """Rows (heads, 3, dim) → (3, heads, dim), or `back`; `tensor` (3 · width, …) keeps its shape."""
    outer = (3, heads) if back else (heads, 3)
    return tensor.view(*outer, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape).contiguous()


VISUAL, BLOCKS, ADAPTER = "transformer.visual.", "model.vision_tower.blocks.", "model.adapter."
LAYERS = "model.language_model.layers."

# Applied from top to bottom when reading, from bottom to top when writing: first what stands where, then its parts.
_NAMES = (
    (VISUAL + "transformer.resblocks.", BLOCKS),
    (VISUAL + "attn_pool.", ADAPTER),
    (VISUAL + "ln_post.", ADAPTER + "norm_post."),
    (VISUAL + "ln_pre.", "model.vision_tower.norm_pre."),
    (VISUAL + "conv1.", "model.vision_tower.patch_embed."),
    (VISUAL + "positional_embedding", "model.vision_tower.position_embedding"),
    ("transformer.h.", LAYERS),
    ("transformer.wte.", "model.language_model.embed_tokens."),
    ("transformer.ln_f.", "model.language_model.norm."),
    (ADAPTER + "attn.out_proj.", ADAPTER + "out_proj."),
    (ADAPTER + "ln_q.", ADAPTER + "norm_q."),
    (ADAPTER + "ln_kv.", ADAPTER + "norm_kv."),
    (ADAPTER + "pos_embed", ADAPTER + "positions"),
    *(
        (BLOCKS + r"(\d+)." + old, BLOCKS + r"\1." + new)
        for old, new in (
            ("ln_1.", "norm1."),
            ("ln_2.", "norm2."),
            ("attn.out_proj.", "attn.proj."),
            ("mlp.c_fc.", "fc1."),
            ("mlp.c_proj.", "fc2."),
        )
    ),
    *(
        (LAYERS + r"(\d+)." + old, LAYERS + r"\1." + new)
        for old, new in (
            ("ln_1.", "norm1."),
            ("ln_2.", "norm2."),
            ("attn.c_attn.", "attn.qkv_proj."),
            ("attn.c_proj.", "attn.o_proj."),
            ("mlp.c_proj.", "down_proj."),
        )
    ),
)


def weight_mapping() -> list[WeightRenaming | WeightConverter]:
    """Released tensors → native tensors, in the form that transformers loads by."""
    in_proj = [
        WeightConverter(
            f"model.adapter.attn.in_proj_{kind}",
            [f"model.adapter.{part}_proj.{kind}" for part in "qkv"],
            operations=[Chunk(dim=0)],
        )
        for kind in ("weight", "bias")
    ]
    return [
        *(WeightRenaming(old, new) for old, new in _NAMES),
        WeightConverter(["mlp.w2.weight", "mlp.w1.weight"], "gate_up_proj.weight", operations=[Concatenate(dim=0)]),
        *in_proj,
        WeightConverter("transformer.visual.proj", "model.adapter.proj.weight", operations=[Transpose(0, 1)]),
        *(WeightConverter(f"attn.in_proj.{k}", f"attn.qkv.{k}", operations=[HeadsFirst()]) for k in ("weight", "bias")),
    ]


def released_state_dict(state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Native tensors under their released names and in their released layout; the inverse of `weight_mapping`.

    Tensors that need no new layout share their memory with the given ones. Raises KeyError when a part is missing.
    """
    state = dict(state)
    found: dict[str, Tensor] = {"transformer.visual.proj": state.pop("model.adapter.proj.weight").T.contiguous()}
    for kind in ("weight", "bias"):
        parts = [state.pop(f"model.adapter.{part}_proj.{kind}") for part in "qkv"]
        found[f"transformer.visual.attn_pool.attn.in_proj_{kind}"] = torch.cat(parts)
    for name, tensor in state.items():
        if name.endswith(".gate_up_proj.weight"):
            gate, up = tensor.chunk(2)
            base = name.removesuffix("gate_up_proj.weight")
            found[_released_name(base + "mlp.w2.weight")] = gate.contiguous()
            found[_released_name(base + "mlp.w1.weight")] = up.contiguous()
        elif ".attn.qkv." in name:
            old = _released_name(name.replace(".attn.qkv.", ".attn.in_proj."))
            found[old] = reorder_heads(tensor, config.vision_config.heads, back=True)
        else:
            found[_released_name(name)] = tensor
    return found


def _released_name(name: str) -> str:
    """Undo `_NAMES` for one name."""
    for old, new in reversed(_NAMES):
        # The group of layer numbers stands in the released pattern; the native one refers to it.
        pattern = re.escape(new).replace(r"\\1", r"(\d+)")
        name = re.sub("^" + pattern, old.replace(r"(\d+)", r"\1"), name)
    return name


def register() -> None:
    """Make `from_pretrained` of the native classes know the released tensors."""
    register_checkpoint_conversion_mapping("qwenvl", weight_mapping(), overwrite=True)
