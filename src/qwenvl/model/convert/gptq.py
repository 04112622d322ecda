"""GPTQ weights in AutoGPTQ's layout, as Qwen-VL-Chat-Int4 was released, back to floating-point numbers.

A linear layer of `rows` inputs and `columns` outputs is stored as (b bits, 32 / b numbers to an int32, lowest bits
first):

* `qweight` int32 (rows · b / 32, columns): consecutive rows share a word;
* `qzeros` int32 (groups, columns · b / 32): consecutive columns share a word, and **one less than the zero point is
  stored** (format "gptq"; "gptq_v2" stores the zero point itself);
* `scales` float16 (groups, columns); `g_idx` int32 (rows): each row's group.

weight[column, row] = scales[g, column] · (q[row, column] − zero[g, column]), g = g_idx[row]. Sources: Frantar et al.,
arXiv 2210.17323, for the method; for the layout AutoGPTQ's `auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py` (`pack`
and `forward`) and, for the two conventions of the zero point, AutoGPTQ pull request 640 and vLLM pull request 38966.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwenvl.model.convert.files import Lazy, ModelError

_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_BITS = (2, 4, 8)


@dataclass(frozen=True)
class Quantization:
    """What `quantization_config` says that matters for reading."""

    bits: int
    symmetric: bool
    zero_is_stored: bool

    @classmethod
    def of(cls, found: Any, path: Path) -> Quantization:
        """From a `quantization_config`. Raises ModelError for another method and for other than 2, 4, 8 bits."""
        if not isinstance(found, dict) or found.get("quant_method", "gptq") != "gptq":
            method = found.get("quant_method") if isinstance(found, dict) else found
            raise ModelError(
                f"{path}: the quantization method {method!r} is not one that can be read in the released form; "
                "only 'gptq' is. Use the checkpoint that was not quantized."
            )
        if found.get("bits") not in _BITS:
            raise ModelError(f"{path}: quantization to {found.get('bits')!r} bits; 2, 4 and 8 can be read.")
        stored = found.get("checkpoint_format") == "gptq_v2"
        return cls(int(found["bits"]), bool(found.get("sym", False)), stored)


def dequantized(tensors: Mapping[str, Lazy], quantization: Quantization) -> dict[str, Lazy]:
    """The same tensors with `X.weight` in place of `X.qweight` and its companions.

    AutoGPTQ gives every quantised layer a bias, zeros where the model has none: those are left out. Raises ModelError
    for a layer that lacks a part, or whose parts do not fit each other.
    """
    found: dict[str, Lazy] = {}
    for name, tensor in tensors.items():
        base, _, part = name.rpartition(".")
        quantised = f"{base}.qweight" in tensors
        if not quantised or part not in (*_PARTS, "bias"):
            found[name] = tensor
        elif part == "qweight":
            found[f"{base}.weight"] = _weight(base, tensors, quantization)
        elif part == "bias" and not _is_padding(base, tensor):
            found[name] = tensor
    return found


def _is_padding(base: str, bias: Lazy) -> bool:
    if base.endswith(".c_attn"):
        return False
    if bias.read().any():
        raise ModelError(f"{bias.origin}: {base}.bias is not zero, but this layer of Qwen-VL has no bias.")
    return True


def _weight(base: str, tensors: Mapping[str, Lazy], quantization: Quantization) -> Lazy:
    origin = tensors[f"{base}.qweight"].origin
    for part in _PARTS[:3]:
        if f"{base}.{part}" not in tensors:
            raise ModelError(f"{origin}: the quantised layer {base} has no {part}.")
    parts = {part: tensors[f"{base}.{part}"] for part in _PARTS if f"{base}.{part}" in tensors}
    shapes, per_word = {part: lazy.shape for part, lazy in parts.items()}, 32 // quantization.bits
    plain = all(len(shapes[part]) == 2 for part in _PARTS[:3])
    rows, columns = (shapes["qweight"][0] * per_word, shapes["qweight"][1]) if plain else (0, 0)
    groups = shapes["scales"][0] if plain else 0
    wanted = {"qzeros": (groups, columns // per_word), "scales": (groups, columns), "g_idx": (rows,)}
    if not groups or any(shapes.get(part, shape) != shape for part, shape in wanted.items()):
        raise ModelError(f"{origin}: the parts of the quantised layer {base} do not fit each other: {shapes}.")
    if any(parts[part].dtype != torch.int32 for part in ("qweight", "qzeros")):
        raise ModelError(f"{origin}: {base}.qweight and .qzeros must be int32.")
    if "g_idx" not in parts and rows % groups:
        raise ModelError(f"{origin}: the quantised layer {base} has no g_idx, and {groups} groups do not part {rows}.")

    def read() -> Tensor:
        g_idx = parts["g_idx"].read().long() if "g_idx" in parts else torch.arange(rows) // (rows // groups)
        if int(g_idx.min()) < 0 or int(g_idx.max()) >= groups:
            raise ModelError(f"{origin}: {base}.g_idx names a group that is not there.")
        qweight, qzeros, scales = (parts[part].read() for part in _PARTS[:3])
        return dequantize(qweight, qzeros, scales, g_idx, quantization)

    return Lazy((columns, rows), parts["scales"].dtype, read, origin)


def dequantize(qweight: Tensor, qzeros: Tensor, scales: Tensor, g_idx: Tensor, quantization: Quantization) -> Tensor:
    """One layer's weight (columns, rows) in the type of `scales`, computed in float32."""
    bits = quantization.bits
    zeros = unpack(qzeros.T, bits).T
    # Of symmetric weights the zero point is known; some programs store it itself and still call the format "gptq".
    if not quantization.zero_is_stored and not (quantization.symmetric and bool((zeros == 1 << (bits - 1)).all())):
        zeros = (zeros + 1) & ((1 << bits) - 1)
    weight = unpack(qweight, bits).float()
    weight -= zeros[g_idx]
    weight *= scales[g_idx].float()
    return weight.T.contiguous().to(scales.dtype)


def unpack(words: Tensor, bits: int) -> Tensor:
    """int32 (n, m) → uint8 (n · 32 / bits, m), lowest bits first."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)[None, :, None]
    numbers = (words[:, None, :] >> shifts) & ((1 << bits) - 1)
    return numbers.to(torch.uint8).reshape(-1, words.shape[1])
