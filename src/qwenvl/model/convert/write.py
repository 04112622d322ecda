"""Tensors to safetensors files, in shards, with one tensor in memory at a time.

The safetensors format (github.com/huggingface/safetensors, "Format"): the length of the head as 8 bytes, little-endian;
the head, JSON with each tensor's type, shape and place; the tensors' bytes. The library reads what is written here.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers.utils.hub import convert_file_size_to_int

from qwenvl.model.convert.files import INDEXED, SAFETENSORS_NAMES, SINGLE, Lazy, ModelError

_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")


def write_tensors(
    tensors: Mapping[str, Lazy],
    folder: Path,
    max_shard_size: int | str = "5GB",
    progress: Callable[[int], object] = lambda size: None,
) -> None:
    """Write model.safetensors, or shards of at most `max_shard_size` (bytes, or "2GB") and their index.

    Weight files of that name from before are replaced. `progress` is called with the bytes of each tensor written.
    Raises ValueError for a size that is none, OSError when the disk is full.
    """
    try:
        limit = convert_file_size_to_int(max_shard_size)
    except ValueError as error:
        raise ModelError(f"max_shard_size is a size such as 2GB or 500MB, not {max_shard_size!r}.") from error
    shards = _shards(tensors, limit)
    count = len(shards)
    names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)] if count > 1 else [SINGLE[0]]
    written = []
    for name, shard in zip(names, shards, strict=True):
        written.append(folder / f"{name}.partial")
        _write_file(written[-1], shard, progress)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    for path in written:
        os.replace(path, path.with_suffix(""))
    if count > 1:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": sum(t.size for t in tensors.values())}, "weight_map": places}
        (folder / INDEXED[0]).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(tensors: Mapping[str, Lazy], limit: int) -> list[dict[str, Lazy]]:
    """In the given order, as much into each as fits; a tensor larger than the limit stands alone."""
    shards: list[dict[str, Lazy]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.size
    return shards


def _write_file(path: Path, tensors: Mapping[str, Lazy], progress: Callable[[int], object]) -> None:
    # Wide types first, so that every tensor begins at a multiple of its item's size.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in ordered:
        kind = SAFETENSORS_NAMES[tensor.dtype]
        head[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [place, place + tensor.size]}
        place += tensor.size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in ordered:
            data = tensor.read().detach().cpu().contiguous()
            if tuple(data.shape) != tensor.shape or data.dtype != tensor.dtype:
                raise RuntimeError(f"{name} came as {data.dtype} {list(data.shape)}, announced otherwise")
            file.write(data.reshape(-1).view(torch.uint8).numpy().data)
            progress(tensor.size)
