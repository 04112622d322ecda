"""OpenCLIP's ViT as the vision tower, against `open_clip_torch` itself; and what is no such checkpoint."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qwenvl.model import VisionTransformer
from qwenvl.model.convert.openclip import SETTINGS, OpenClipError, find_weights, read_openclip

WIDTH, HEADS, PATCH, GRID = 48, 3, 14, 4


@pytest.fixture(scope="module")
def open_clip() -> Iterator[Any]:
    """`open_clip.transformer` without the package around it, whose import wants torchvision's transforms."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None:
        pytest.skip("needs open_clip_torch: pip install --no-deps open_clip_torch ftfy")
    package = types.ModuleType("open_clip")
    package.__path__ = list(spec.submodule_search_locations or ())
    names = ("torchvision", "torchvision.ops", "torchvision.ops.misc")
    stand_ins = {name: types.ModuleType(name) for name in names}
    for name, module in stand_ins.items():
        module.__spec__, module.__path__ = ModuleSpec(name, None), []  # type: ignore[attr-defined]
    stand_ins["torchvision.ops.misc"].FrozenBatchNorm2d = nn.BatchNorm2d  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in (*names, "open_clip")}
    sys.modules.update({**stand_ins, "open_clip": package})
    try:
        yield importlib.import_module("open_clip.transformer")
    finally:
        for name in [name for name in sys.modules if name.startswith("open_clip.")]:
            del sys.modules[name]
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def reference(open_clip: Any) -> nn.Module:
    """A tower of bigG's form: heads that do not divide 64, an MLP that is no whole multiple, everything random."""
    torch.manual_seed(0)
    tower = open_clip.VisionTransformer(
        image_size=PATCH * GRID, patch_size=PATCH, width=WIDTH, layers=3, heads=HEADS, mlp_ratio=4.9231, output_dim=40
    )
    with torch.no_grad():
        for parameter in tower.parameters():
            # norms and biases start at 1 and 0, which would hide a mistake
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return tower.eval()


def write(folder: Path, tower: nn.Module, suffix: str = ".safetensors", **settings: object) -> Path:
    """The tower as a published checkpoint, a text tower beside it."""
    folder.mkdir(exist_ok=True)
    state = {f"visual.{name}": tensor for name, tensor in tower.state_dict().items()}
    state |= {"positional_embedding": torch.zeros(7, 8), "token_embedding.weight": torch.zeros(9, 8)}
    state |= {"transformer.resblocks.0.ln_1.weight": torch.zeros(8), "logit_scale": torch.zeros(())}
    config = {"model_cfg": {"vision_cfg": {"head_width": WIDTH // HEADS}, **settings}, "preprocess_cfg": {}}
    (folder / SETTINGS).write_text(json.dumps(config))
    file = folder / ("open_clip_model" if suffix == ".safetensors" else "open_clip_pytorch_model")
    file = file.with_suffix(suffix)
    if suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if suffix == ".pt" else state, file)
    return file


def before_pooling(tower: Any, pixels: Tensor) -> Tensor:
    """What OpenCLIP's own modules make of the patches, without the class token that Qwen-VL drops."""
    hidden = tower.conv1(pixels).flatten(2).transpose(1, 2)
    return tower.transformer(tower.ln_pre(hidden + tower.positional_embedding[1:]))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_features_equal_open_clips_own(open_clip: Any, tmp_path: Path, suffix: str) -> None:
    tower = reference(open_clip)
    write(tmp_path / "clip", tower, suffix)
    file = find_weights(tmp_path / "clip")
    assert file is not None
    config, tensors = read_openclip(file, image_size=PATCH * GRID)
    ours = VisionTransformer(config).eval()
    ours.load_state_dict(tensors)
    pixels = torch.randn(2, 3, PATCH * GRID, PATCH * GRID)
    with torch.no_grad():
        expected, found = before_pooling(tower, pixels), ours(pixels).last_hidden_state
    print((found - expected).abs().max())
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.5, "features this small would agree whatever was wrong"
