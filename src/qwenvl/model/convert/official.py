"""The released form's tensors and ours, both ways: names, and the few that are laid out otherwise.

Both ways work on lazy tensors (`files.Lazy`), so that loading, saving and converting hold one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qwenvl.model.convert.files import Lazy, held
from qwenvl.model.convert.official_config import is_released, native_config, released_config

__all__ = [
    "is_released", "native_config", "native_view", "released_config", "released_state_dict", "released_view",
    "reorder_heads",
]  # fmt: skip

VISUAL, BLOCKS, ADAPTER = "transformer.visual.", "model.vision_tower.blocks.", "model.adapter."
LAYERS = "model.language_model.layers."

# Released and native beginnings of names, # standing for a number; what stands where first, then its parts.
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
    (BLOCKS + "#.ln_1.", BLOCKS + "#.norm1."),
    (BLOCKS + "#.ln_2.", BLOCKS + "#.norm2."),
    (BLOCKS + "#.attn.out_proj.", BLOCKS + "#.attn.proj."),
    (BLOCKS + "#.mlp.c_fc.", BLOCKS + "#.fc1."),
    (BLOCKS + "#.mlp.c_proj.", BLOCKS + "#.fc2."),
    (LAYERS + "#.ln_1.", LAYERS + "#.norm1."),
    (LAYERS + "#.ln_2.", LAYERS + "#.norm2."),
    (LAYERS + "#.attn.c_attn.", LAYERS + "#.attn.qkv_proj."),
    (LAYERS + "#.attn.c_proj.", LAYERS + "#.attn.o_proj."),
    (LAYERS + "#.mlp.c_proj.", LAYERS + "#.down_proj."),
)


def _rule(old: str, new: str) -> tuple[re.Pattern[str], str]:
    return re.compile("^" + re.escape(old).replace(r"\#", r"(\d+)")), new.replace("#", r"\1")


_TO_NATIVE = tuple(_rule(old, new) for old, new in _NAMES)
_TO_RELEASED = tuple(_rule(new, old) for old, new in reversed(_NAMES))


def _renamed(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, new in rules:
        name = pattern.sub(new, name)
    return name


def native_view(released: Mapping[str, Lazy], heads: int) -> dict[str, Lazy]:
    """Released tensors under their native names and in the native layout; `heads` is the ViT's number of heads.

    A tensor that no Qwen-VL has keeps its name. Raises KeyError when of `mlp.w1` and `mlp.w2` only the second is there.
    """
    found: dict[str, Lazy] = {}
    for old, tensor in released.items():
        name = _renamed(old, _TO_NATIVE)
        if name.endswith(".mlp.w2.weight"):
            up = released[old.replace(".mlp.w2.", ".mlp.w1.")]
            found[name.replace(".mlp.w2.", ".gate_up_proj.")] = _joined([tensor, up])
        elif name == VISUAL + "proj":
            found[ADAPTER + "proj.weight"] = _transposed(tensor)
        elif name.startswith(ADAPTER + "attn.in_proj_"):
            kind = name.removeprefix(ADAPTER + "attn.in_proj_")
            for index, part in enumerate("qkv"):
                found[f"{ADAPTER}{part}_proj.{kind}"] = _part(tensor, index, 3)
        elif name.startswith(BLOCKS) and ".attn.in_proj." in name:
            found[name.replace(".in_proj.", ".qkv.")] = _reordered(tensor, heads, back=False)
        elif not name.endswith(".mlp.w1.weight"):
            found[name] = tensor
    return found


def released_view(native: Mapping[str, Lazy], heads: int) -> dict[str, Lazy]:
    """Native tensors under their released names and in the released layout: the inverse of `native_view`.

    Raises KeyError when of the adapter's q, k and v only the first is there.
    """
    found: dict[str, Lazy] = {}
    for name, tensor in native.items():
        if name.startswith(LAYERS) and name.endswith(".gate_up_proj.weight"):
            for index, part in enumerate(("w2", "w1")):
                old = name.replace(".gate_up_proj.", f".mlp.{part}.")
                found[_renamed(old, _TO_RELEASED)] = _part(tensor, index, 2)
        elif name == ADAPTER + "proj.weight":
            found[VISUAL + "proj"] = _transposed(tensor)
        elif name.startswith(ADAPTER + "q_proj."):
            kind = name.removeprefix(ADAPTER + "q_proj.")
            parts = [native[f"{ADAPTER}{part}_proj.{kind}"] for part in "qkv"]
            found[f"{VISUAL}attn_pool.attn.in_proj_{kind}"] = _joined(parts)
        elif name.startswith(BLOCKS) and ".attn.qkv." in name:
            old = _renamed(name.replace(".attn.qkv.", ".attn.in_proj."), _TO_RELEASED)
            found[old] = _reordered(tensor, heads, back=True)
        elif not name.startswith((ADAPTER + "k_proj.", ADAPTER + "v_proj.")):
            found[_renamed(name, _TO_RELEASED)] = tensor
    return found


def released_state_dict(state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """A native state dict in the released form; tensors that need no new layout share their memory with the given."""
    view = released_view({name: held(tensor) for name, tensor in state.items()}, config.vision_config.heads)
    return {name: tensor.read() for name, tensor in view.items()}


def reorder_heads(tensor: Tensor, heads: int, back: bool = False) -> Tensor:
    """Rows (heads, 3, dim) → (3, heads, dim), or `back`; `tensor` (3 · width, …) keeps its shape.

    The released ViT stores q, k and v head by head, ours one after the other.
    """
    outer = (3, heads) if back else (heads, 3)
    return tensor.view(*outer, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape).contiguous()


def _joined(parts: list[Lazy]) -> Lazy:
    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return Lazy(shape, first.dtype, lambda: torch.cat([part.read() for part in parts]), first.origin)


def _part(whole: Lazy, index: int, count: int) -> Lazy:
    # A copy, lest the part keep the whole in memory.
    shape = (whole.shape[0] // count, *whole.shape[1:])
    return Lazy(shape, whole.dtype, lambda: whole.read().chunk(count)[index].clone(), whole.origin)


def _transposed(tensor: Lazy) -> Lazy:
    return Lazy(tensor.shape[::-1], tensor.dtype, lambda: tensor.read().T.contiguous(), tensor.origin)


def _reordered(tensor: Lazy, heads: int, back: bool) -> Lazy:
    return Lazy(tensor.shape, tensor.dtype, lambda: reorder_heads(tensor.read(), heads, back), tensor.origin)
