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
from qwenvl.model.parts_read import InitError, read_vision

WIDTH, HEADS, PATCH, GRID = 48, 3, 14, 4


@pytest.fixture(scope="module")
def open_clip() -> Iterator[Any]:
    """`open_clip.transformer` without the package around it, whose import wants torchvision's transforms."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None:
        pytest.skip("needs open_clip_torch: pip install --no-deps open_clip_torch")
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
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.5, "features this small would agree whatever was wrong"


def test_settings_come_from_the_folder_or_the_known_widths(open_clip: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "clip", reference(open_clip))
    config, tensors = read_openclip(file)
    assert (config.image_size, config.patch_size, config.position_grid) == (448, PATCH, GRID)
    assert (config.width, config.heads, config.layers, config.mlp_width) == (WIDTH, HEADS, 3, int(WIDTH * 4.9231))
    assert tensors.keys() == VisionTransformer(config).state_dict().keys()
    (tmp_path / "clip" / SETTINGS).unlink()
    with pytest.raises(OpenClipError, match=f"width {WIDTH}.*{SETTINGS}"):
        read_openclip(file)


def state(**changes: Tensor | None) -> dict[str, Tensor]:
    """A tower's names in their least form; `changes` by name with "__" for ".", None removes."""
    found = {
        "visual.class_embedding": torch.zeros(64),
        "visual.positional_embedding": torch.zeros(5, 64),
        "visual.conv1.weight": torch.zeros(64, 3, 4, 4),
        **{f"visual.ln_pre.{kind}": torch.zeros(64) for kind in ("weight", "bias")},
    }
    block = "visual.transformer.resblocks.0."
    for name in ("ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj"):
        found |= {f"{block}{name}.{kind}": torch.zeros(64, 64) for kind in ("weight", "bias")}
    found |= {f"{block}attn.in_proj_{kind}": torch.zeros(192, 64) for kind in ("weight", "bias")}
    for name, tensor in changes.items():
        found.pop(name.replace("__", "."), None)
        if tensor is not None:
            found[name.replace("__", ".")] = tensor
    return found


FORMS = [
    ({"visual__trunk__blocks__0__norm1__weight": torch.zeros(4)}, "visual.trunk.*of another form"),
    ({"visual__layer1__0__conv1__weight": torch.zeros(4)}, "visual.layer1.*of another form"),
    ({"visual__transformer__resblocks__0__ls_1__gamma": torch.zeros(4)}, "ls_1.gamma.*of another form"),
    ({"visual__ln_pre__weight": None}, "visual.ln_pre.weight' is missing"),
    ({"visual__transformer__resblocks__0__ln_2__bias": None}, r"blocks\.0\.norm2\.bias is missing"),
    ({"visual__positional_embedding": torch.zeros(6, 64)}, "square grid"),
    ({"visual__conv1__weight": torch.zeros(64, 1, 4, 4)}, "square RGB patches"),
    ({"visual__conv1__weight": torch.zeros(64, 48)}, "square RGB patches"),
]


@pytest.mark.parametrize(("changes", "said"), FORMS)
def test_another_form_is_refused_by_name(tmp_path: Path, changes: dict[str, Tensor | None], said: str) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps({"model_cfg": {}}))
    save_file(state(), tmp_path / "w.safetensors")
    assert read_openclip(tmp_path / "w.safetensors", 8)[0].heads == 1
    save_file(state(**changes), tmp_path / "w.safetensors")
    with pytest.raises(OpenClipError, match=said):
        read_openclip(tmp_path / "w.safetensors", 8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_cfg": {"quick_gelu": True}}, "quick_gelu"),
        ({"model_cfg": {}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}, r"normalised with mean \[0\.5"),
        ({"vision_cfg": {}}, "model_cfg"),
        ({"model_cfg": {"vision_cfg": {"head_width": 0}}}, "how many heads"),
    ],
)
def test_settings_that_the_tower_does_not_have(tmp_path: Path, settings: dict[str, object], said: str) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    save_file(state(), tmp_path / "w.safetensors")
    with pytest.raises(OpenClipError, match=said):
        read_openclip(tmp_path / "w.safetensors", 8)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps({"model_cfg": {}}))
    save_file(state(visual__transformer__resblocks__0__ln_1__bias=torch.zeros(7)), tmp_path / "w.safetensors")
    with pytest.raises(InitError, match=r"w\.safetensors: .*has shape .*; expected \(64,"):
        read_vision(tmp_path, 8)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.bin"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(OpenClipError, match="is not readable as weights"):
            read_openclip(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(OpenClipError, match="expected a state dict"):
        read_openclip(tmp_path / "list.pt")
    torch.save(Unwanted(), tmp_path / "pickle.pt")
    with pytest.raises(OpenClipError, match="is not readable as weights"):
        read_openclip(tmp_path / "pickle.pt")
    with pytest.raises(OpenClipError, match="several weights files"):
        find_weights(tmp_path)


class Unwanted:
    """What `weights_only` must not load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))
