"""Weight-only quantisation: linear layers in 8 or 4 bits, in torchao's form in the folder, by torch's kernels at work.

8 bits: one scale a row, symmetric. 4 bits: a scale and a zero a group of 32 inputs. A folder holds torchao's plain
tensors in safetensors (`quantization_config` in config.json says so), which depend on no device; after loading, the
layers become those of this module, which pack their weights for the device where they first work. Activations stay
bfloat16. Language head, embeddings and adapter are never quantised, the vision tower on request only: pictures lose
most by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from qwenvl.config import Trainable
from qwenvl.model.names import HEAD, PARTS, linear_layers

Bits = Literal[4, 8]
GROUP = 32
"""Inputs that share a scale and a zero in 4 bits."""

ALIGNED = 16
"""Bytes at whose multiples torch's 8-bit kernel for CPUs must find every row: elsewhere it ends the process."""


class QuantizeError(ValueError):
    """A model or a wish that can't be quantised; the message says what can."""


class Int8Linear(nn.Module):
    """y = s · (Q x) + b, with Q (out, in) int8 and s (out,) float32."""

    def __init__(self, values: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = values.shape
        # a copy: the kernel reads aligned memory only, and in a file tensors begin anywhere
        self.register_buffer("values", values.clone(memory_format=torch.contiguous_format), persistent=False)
        self.register_buffer("scale", scale.flatten().to(torch.bfloat16), persistent=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.values: Tensor
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), in x's type."""
        flat = x.reshape(-1, self.in_features).bfloat16()
        if x.device.type == "cpu" and self.in_features % ALIGNED == 0:
            # torch's own kernel, which reads the bytes as they are; in float32 it has no fast way
            out = torch.ops.aten._weight_int8pack_mm(flat.contiguous(), self.values, self.scale)
        else:
            out = functional.linear(flat, self.values.bfloat16()) * self.scale
        return _with_bias(out, self.bias, x)


class Int4Linear(nn.Module):
    """y = W x + b, with W[o, i] = q · s + z: q in -8…7, s and z (in / 32, out) bfloat16, one each a group of inputs.

    `nibbles` (out, in / 2) int8 holds the even input in its lower half. They are packed for a device at the first
    call there, and then the layer can't move to another kind of device.
    """

    def __init__(self, nibbles: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = nibbles.shape[0], 2 * nibbles.shape[1]
        self.register_buffer("values", nibbles, persistent=False)
        scales = torch.stack([scale, zero], dim=-1).to(torch.bfloat16).contiguous()
        self.register_buffer("scale_and_zero", scales, persistent=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.packed_for: str | None = None
        self.values: Tensor
        self.scale_and_zero: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), in x's type. Raises QuantizeError after a move to another kind of device."""
        kind = x.device.type
        if self.packed_for is None:
            self._pack(kind)
        elif self.packed_for != kind:
            raise QuantizeError(
                f"a model in 4 bits that has worked on {self.packed_for} can't move to {kind}: load it there instead"
            )
        flat = x.reshape(-1, self.in_features).bfloat16().contiguous()
        multiply = torch.ops.aten._weight_int4pack_mm_for_cpu if kind == "cpu" else torch.ops.aten._weight_int4pack_mm
        return _with_bias(multiply(flat, self.values, GROUP, self.scale_and_zero), self.bias, x)

    def _pack(self, kind: str) -> None:
        # the kernels count from 0 to 15
        whole = unpack_nibbles(self.values).to(torch.int32) + 8
        if kind == "cpu":
            self.values = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
        else:
            tiles = next(tiles for tiles in (8, 4, 2) if self.in_features % (16 * tiles) == 0)
            pairs = (whole[:, ::2] << 4 | whole[:, 1::2]).to(torch.uint8)
            self.values = torch.ops.aten._convert_weight_to_int4pack(pairs, tiles)
        self.packed_for = kind


def _with_bias(out: Tensor, bias: Tensor | None, like: Tensor) -> Tensor:
    out = out.to(like.dtype).view(*like.shape[:-1], -1)
    return out if bias is None else out + bias


def unpack_nibbles(nibbles: Tensor) -> Tensor:
    """(out, in / 2) int8, the even input in the lower half → (out, in) int8 in -8…7."""
    low = (nibbles << 4) >> 4
    return torch.stack([low, nibbles >> 4], dim=-1).flatten(-2)


def four_bit(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(out, in) → nibbles (out, in / 2) int8, scale and zero (in / 32, out) bfloat16: each group's range in 16."""
    groups = weight.detach().float().unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    # rounded first, so that the whole numbers are the best for the scales that are kept
    scale = ((high - low) / 15).clamp(min=1e-6).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    whole = ((groups - zero.float()) / scale.float()).round().clamp(-8, 7).to(torch.int8).flatten(1)
    nibbles = (whole[:, 1::2] << 4) | (whole[:, ::2] & 0xF)
    return nibbles.contiguous(), scale[..., 0].T.contiguous(), zero[..., 0].T.contiguous()


def fits(layer: nn.Linear, bits: int) -> bool:
    """Whether the layer has a shape that the kernels take."""
    return bits == 8 or (layer.in_features % GROUP == 0 and layer.out_features % 16 == 0)


def quantize(model: PreTrainedModel, bits: int, parts: Sequence[Trainable] = ("decoder",)) -> tuple[int, int]:
    """Put the parts' linear layers into `bits` (8 or 4), the rest into bfloat16, ready for `save_pretrained`.

    Gives how many layers were quantised, and how many stayed because the kernels do not take their shape. The model is
    to be saved now; what works is what is loaded again. Raises QuantizeError for other bits, for the adapter, for what
    is quantised already and where no layer fits; ModuleNotFoundError without torchao.
    """
    if bits not in (8, 4):
        raise QuantizeError(f"{bits} bits: weights are quantised to 8 or 4")
    if "adapter" in parts:
        raise QuantizeError("the adapter stays as it is: it is small, and all that is seen goes through it")
    if getattr(model, "quantization_method", None) is not None:
        raise QuantizeError("this model is quantised already: start from the one that it was made of")
    from torchao.quantization import Int4Tensor, Int4WeightOnlyConfig, Int8Tensor, Int8WeightOnlyConfig, PerRow

    names = [name for part in parts for name in linear_layers(model, part) if name != HEAD]
    layers = {name: model.get_submodule(name) for name in names}
    chosen = {name: layer for name, layer in layers.items() if fits(layer, bits)}  # type: ignore[arg-type]
    if not chosen:
        raise QuantizeError(
            f"no linear layer of {', '.join(parts)} has a shape for {bits} bits: inputs must be a multiple of {GROUP} "
            "and outputs of 16. Take 8 bits"
        )
    whole = {name: layer.weight.detach() for name, layer in chosen.items()}  # type: ignore[union-attr, operator]
    model.to(torch.bfloat16)
    for name, layer in chosen.items():
        weight = whole.pop(name)  # type: ignore[assignment]
        if bits == 8:
            held = Int8Tensor.from_hp(weight, PerRow())
            held = Int8Tensor(held.qdata, held.scale, held.block_size, torch.bfloat16, zero_point=held.zero_point)
        else:
            held = Int4Tensor(*four_bit(weight), [1, GROUP], weight.shape)  # type: ignore[arg-type]
        layer.weight = nn.Parameter(held, requires_grad=False)
    kind = Int8WeightOnlyConfig() if bits == 8 else Int4WeightOnlyConfig(group_size=GROUP)
    kept = [prefix.rstrip(".") for part in PARTS if part not in parts for prefix in PARTS[part]] + [HEAD]
    _declare(model, kind, sorted({*kept, *(set(layers) - set(chosen))}))
    return len(chosen), len(layers) - len(chosen)


def use_kernels(model: PreTrainedModel) -> None:
    """Put this module's layers in the place of torchao's, in a model that was read from a quantised folder."""
    from torchao.quantization import Int4Tensor, Int8Tensor

    for name, module in list(model.named_modules()):
        weight = getattr(module, "weight", None)
        made: nn.Module
        if isinstance(weight, Int8Tensor):
            made = Int8Linear(weight.qdata, weight.scale, module.bias)  # type: ignore[arg-type]
        elif isinstance(weight, Int4Tensor):
            made = Int4Linear(weight.qdata, weight.scale, weight.zero_point, module.bias)  # type: ignore[arg-type]
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, made)
    # transformers then refuses to save it: packed weights are of this device, and the folder they came from is there
    model.hf_quantizer.is_serializable = lambda *_: False


def is_quantized(folder: Path) -> bool:
    """Whether `folder` holds torchao's weights. Raises ModuleNotFoundError when it does and torchao is missing."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return False  # whoever loads it says what is wrong
    if not isinstance(found, dict) or found.get("quant_method") != "torchao":
        return False
    import torchao  # noqa: F401

    return True


def write_quantized(name: str | Path, out: Path, bits: int, vision: bool = False) -> tuple[int, int]:
    """Quantise the checkpoint `name` and write it as a whole folder, which `load` and `from_pretrained` read.

    Gives what `quantize` gives. Raises its errors, and ModelError when `out` is in use.
    """
    from qwenvl.model.load import load, quietly
    from qwenvl.model.merge import empty_place, write_whole

    if bits not in (8, 4):
        raise QuantizeError(f"--bits {bits}: weights are quantised to 8 or 4")
    empty_place(out)
    loaded = load(name)
    counts = quantize(loaded.model, bits, ("vision", "decoder") if vision else ("decoder",))
    with quietly():
        write_whole(loaded.model, loaded.tokenizer, out)
    return counts


def _declare(model: PreTrainedModel, kind: Any, kept: list[str]) -> None:
    from transformers import TorchAoConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    config = TorchAoConfig(kind, modules_to_not_convert=kept)
    model.config.quantization_config = config
    model.hf_quantizer = AutoHfQuantizer.from_config(config, pre_quantized=True)
