"""An OpenCLIP image–text checkpoint's ViT as the vision tower (paper, section 2.1).

Kept: patch convolution, learned positions, the norm before the blocks, the blocks. Dropped, as in the paper's model:
the class token and its position, the last norm, pooling and projection, the text tower. OpenCLIP's fused
`in_proj` holds q, k and v one after the other, which is our order (the released Qwen-VL's is not).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qwenvl.model.configuration import QwenVLVisionConfig

SETTINGS = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""The names under which OpenCLIP publishes weights, in the order in which they are looked for."""

HEAD_WIDTHS = {1664: 104, 1408: 88, 1280: 80, 1024: 64, 768: 64}
"""Width of one head by the tower's width (bigG, g, H, L, B), where no open_clip_config.json says it."""

EPS = 1e-5
"""OpenCLIP's layer norms. The published Qwen-VL computes with 1e-6 on the same weights, which moves its features by up
to 2e-4; a model that is to be written in the released form must do so too (`vision_config.layer_norm_eps`)."""

_DROPPED = re.compile(r"class_embedding|ln_post\.(weight|bias)|proj|attn_pool(_contrastive)?\..*")
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_OUTER = {
    "conv1.weight": "patch_embed.weight",
    "positional_embedding": "position_embedding",
    "ln_pre.weight": "norm_pre.weight",
    "ln_pre.bias": "norm_pre.bias",
}
_INNER = {
    **{f"{old}.{kind}": f"{new}.{kind}"
       for old, new in (("ln_1", "norm1"), ("ln_2", "norm2"), ("attn.out_proj", "attn.proj"),
                        ("mlp.c_fc", "fc1"), ("mlp.c_proj", "fc2"))
       for kind in ("weight", "bias")},
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
}  # fmt: skip


class OpenClipError(ValueError):
    """A checkpoint that can't become the vision tower; the message names the file and what was expected."""


def find_weights(path: Path) -> Path | None:
    """The weights file of an OpenCLIP checkpoint, given as that file or as its folder; None where there is none."""
    if path.is_file():
        return path
    named = [path / name for name in WEIGHTS if (path / name).is_file()]
    if named:
        return named[0]
    if (path / "config.json").is_file() and not (path / SETTINGS).is_file():
        return None
    found = sorted(file for file in path.glob("*") if file.suffix in (".safetensors", ".bin", ".pt"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:4])
        raise OpenClipError(f"{path} holds several weights files ({names}): give the one that is meant, by its path")
    return found[0] if found else None


def read_openclip(file: Path, image_size: int | None = None) -> tuple[QwenVLVisionConfig, dict[str, Tensor]]:
    """The tower's configuration and tensors, native names, from an OpenCLIP weights file (safetensors, .bin or .pt).

    `image_size` (default 448) is the side that pictures are resized to; positions are interpolated to its grid as the
    model runs. The tensors are mapped from the file where it allows that. Raises OpenClipError for a file that is
    none, or of a tower of another form.
    """
    settings = _settings(file.parent / SETTINGS)
    visual = {k.removeprefix("visual."): v for k, v in _read(file).items() if k.startswith("visual.")}
    if not visual:
        raise OpenClipError(
            f"{file}: no tensor 'visual.…' in it; expected the state dict of an OpenCLIP model with a ViT "
            "(a vision tower of transformers needs its config.json beside the weights)"
        )
    tensors = {}
    for name, tensor in visual.items():
        new = _native_name(name)
        if new is not None:
            tensors[new] = tensor
        elif not _DROPPED.fullmatch(name):
            raise OpenClipError(
                f"{file}: the tensor 'visual.{name}' belongs to no plain OpenCLIP ViT (such as ViT-bigG-14, ViT-L-14): "
                "this tower is of another form. A timm or Hugging Face tower goes by its own folder with a config.json"
            )
    missing = [old for old, new in _OUTER.items() if new not in tensors]
    if missing:
        raise OpenClipError(f"{file}: the tensor 'visual.{missing[0]}' is missing; expected a plain OpenCLIP ViT")
    config = _config(file, tensors, settings, image_size)
    tensors["position_embedding"] = tensors["position_embedding"][1:].clone()
    return config, tensors


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except Exception as error:  # both readers fail in many ways on broken files
        kind = "safetensors" if isinstance(error, SafetensorError) else type(error).__name__
        reason = (str(error).strip() or "no further message").splitlines()[0]
        raise OpenClipError(f"{file} is not readable as weights ({kind}: {reason})") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        # a checkpoint of OpenCLIP's own training
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise OpenClipError(f"{file}: expected a state dict (names and tensors), found {type(found).__name__}")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _is_zip(file: Path) -> bool:
    """Whether torch can map the file; very old ones are not archives."""
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _settings(file: Path) -> dict[str, Any]:
    """`model_cfg` and `preprocess_cfg` of an open_clip_config.json; empty where there is none."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"vision_cfg": {}, **found["model_cfg"], **found.get("preprocess_cfg", {})}
    except (ValueError, KeyError, TypeError) as error:
        raise OpenClipError(f"{file}: expected JSON with 'model_cfg' ({error})") from None


def _native_name(name: str) -> str | None:
    block = _BLOCK.fullmatch(name)
    if block is None:
        return _OUTER.get(name)
    inner = _INNER.get(block[2])
    return None if inner is None else f"blocks.{block[1]}.{inner}"


def _config(
    file: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], image_size: int | None
) -> QwenVLVisionConfig:
    kernel = tensors["patch_embed.weight"]
    width, channels, patch, other = kernel.shape if kernel.dim() == 4 else (0, 0, 0, 0)
    layers = 1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")), default=-1)
    lacking = [f"blocks.{i}.{name}" for i in range(layers) for name in _INNER.values()
               if f"blocks.{i}.{name}" not in tensors]  # fmt: skip
    if not layers or lacking:
        raise OpenClipError(f"{file}: the ViT is not whole: {lacking[0] if lacking else 'it has no blocks'} is missing")
    rows = tensors["position_embedding"].shape[0] - 1
    grid = round(max(rows, 0) ** 0.5)
    if (channels, other) != (3, patch) or grid * grid != rows:
        raise OpenClipError(f"{file}: expected square RGB patches on a square grid beside one class token")
    # OpenCLIP's own default is 64
    head = settings["vision_cfg"].get("head_width", 64) if settings else HEAD_WIDTHS.get(width)
    if not isinstance(head, int) or head < 1 or width % head:
        raise OpenClipError(
            f"{file}: how many heads has a ViT of width {width}? Put the model's {SETTINGS} beside the file; its "
            "model_cfg.vision_cfg.head_width says it"
        )
    if settings.get("quick_gelu"):
        raise OpenClipError(
            f"{file}: {SETTINGS} says quick_gelu, but Qwen-VL's tower computes GELU. Take a checkpoint that was "
            "trained with GELU (LAION's), or the same model in transformers' form"
        )
    from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD

    for key, ours in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
        if tuple(settings.get(key, ours)) != ours:
            raise OpenClipError(
                f"{file}: its pictures are normalised with {key} {settings[key]}; expected CLIP's {ours}"
            )
    return QwenVLVisionConfig(
        image_size=image_size or 448,
        patch_size=patch,
        width=width,
        layers=layers,
        heads=width // head,
        mlp_width=tensors["blocks.0.fc1.weight"].shape[0],
        layer_norm_eps=EPS,
        position_grid=grid,
    )
