"""Checkpoints in the released form for tests: of any size, in every kind of file, and with GPTQ linears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qwenvl.model import QwenVLConfig
from qwenvl.model.convert.checkpoint import expected_tensors
from qwenvl.model.convert.official import native_config
from tests.model.helpers import OFFICIAL

State = dict[str, Tensor]


def official_config() -> dict[str, Any]:
    return json.loads((OFFICIAL / "config.json").read_text(encoding="utf-8"))


def official_state() -> State:
    return load_file(OFFICIAL / "model.safetensors")


def small_released(**changes: Any) -> dict[str, Any]:
    """A small config.json in the released form; changes to `visual` as a dict."""
    visual = {"heads": 2, "image_size": 32, "image_start_id": 80, "layers": 1, "mlp_ratio": 2.0}
    visual |= {"n_queries": 4, "output_dim": 32, "patch_size": 8, "width": 24}
    config = official_config() | {"hidden_size": 32, "intermediate_size": 48, "kv_channels": 16, "vocab_size": 90}
    config |= {"num_attention_heads": 2, "num_hidden_layers": 1, "seq_length": 64}
    visual |= changes.pop("visual", {})
    return config | {"visual": visual} | changes


def random_state(config: dict[str, Any], dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
    """Random tensors for a config.json in the released form."""
    generator = torch.Generator().manual_seed(seed)
    wanted = expected_tensors(QwenVLConfig(**native_config(config)), released=True)
    return {name: torch.randn(t.shape, generator=generator).mul(0.1).to(dtype) for name, t in wanted.items()}


def write(folder: Path, config: dict[str, Any], state: State, kind: str = "safetensors", shards: int = 1) -> Path:
    """A checkpoint folder, as other programs would have written it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names, places = list(state), {}
    for shard in range(shards):
        part = {name: state[name] for name in names[shard::shards]}
        file = f"{stem}.{kind}" if shards == 1 else f"{stem}-{shard + 1:05d}-of-{shards:05d}.{kind}"
        if kind == "safetensors":
            save_file({name: tensor.contiguous() for name, tensor in part.items()}, folder / file)
        else:
            torch.save(part, folder / file)
        places |= dict.fromkeys(part, file)
    if shards > 1:
        index = {"metadata": {"total_size": 0}, "weight_map": places}
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


GPTQ = {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": False, "static_groups": False, "sym": True}
GPTQ |= {"true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model", "quant_method": "gptq"}
"""The `quantization_config` of Qwen-VL-Chat-Int4."""


def pack(numbers: Tensor, bits: int = 4) -> Tensor:
    """(n, m) small numbers → (n · bits / 32, m) int32, lowest bits first; one number at a time."""
    per_word = 32 // bits
    rows, columns = numbers.shape
    words = [[0] * columns for _ in range(rows // per_word)]
    for row, line in enumerate(numbers.tolist()):
        for column, number in enumerate(line):
            words[row // per_word][column] |= int(number) << (bits * (row % per_word))
    return torch.tensor(words, dtype=torch.int64).to(torch.int32)


def quantize(
    weight: Tensor, bits: int = 4, group: int = 128, symmetric: bool = True, shuffled: bool = False, stored: int = 1
) -> tuple[State, Tensor]:
    """One linear's GPTQ tensors, rounded to nearest, and the weight (out, in) that they stand for, in float16.

    `stored`: what is taken off the zero point in the file, 1 in format "gptq", 0 in "gptq_v2".
    """
    columns, rows = weight.shape
    g_idx = torch.arange(rows) // group
    if shuffled:
        g_idx = g_idx[torch.randperm(rows, generator=torch.Generator().manual_seed(0))]
    groups, top = int(g_idx.max()) + 1, 2**bits - 1
    scales, zeros = torch.zeros(groups, columns), torch.zeros(groups, columns, dtype=torch.int64)
    numbers, meant = torch.zeros(rows, columns, dtype=torch.int64), torch.zeros(rows, columns)
    for index in range(groups):
        mine = weight.T[g_idx == index].float()
        if symmetric:
            scale, zero = 2 * mine.abs().amax(0) / top, torch.full((columns,), (top + 1) // 2)
        else:
            low, high = mine.amin(0).clamp(max=-1e-4), mine.amax(0).clamp(min=0)
            scale = (high - low) / top
            zero = (-low / scale).round().clamp(1, top).long()
        scale = scale.half().float()
        q = ((mine / scale).round() + zero).clamp(0, top).long()
        numbers[g_idx == index], scales[index], zeros[index] = q, scale, zero
        meant[g_idx == index] = (q - zero) * scale
    state = {"qweight": pack(numbers, bits), "qzeros": pack((zeros - stored).T, bits).T.contiguous()}
    state |= {"scales": scales.half(), "g_idx": g_idx.to(torch.int32)}
    return state, meant.T.half()


def quantized(state: State, bits: int = 4, group: int = 128, **options: Any) -> tuple[State, State]:
    """A state with the decoder's linears in GPTQ as AutoGPTQ leaves it (float16, biases everywhere), and in float16."""
    packed, plain = {}, {}
    for name, tensor in state.items():
        base = name.removesuffix(".weight")
        layer = name.startswith("transformer.h.") and base != name and tensor.dim() == 2
        if not layer:
            packed[name] = plain[name] = tensor.half()
            continue
        parts, plain[name] = quantize(tensor, bits, group, **options)
        packed |= {f"{base}.{part}": value for part, value in parts.items()}
        if not base.endswith("c_attn"):
            packed[f"{base}.bias"] = torch.zeros(tensor.shape[0], dtype=torch.float16)
    return packed, plain
