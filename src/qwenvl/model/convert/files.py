"""The tensors of a checkpoint folder, each read only when asked for: safetensors or PyTorch files, single or in shards.

Names, shapes and types are known from the files' heads, so a whole checkpoint can be checked, re-ordered and copied
with one tensor in memory at a time. PyTorch files are read without running anything that is pickled in them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
SAFETENSORS_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
"""What the safetensors format calls each type."""

_LARGEST_JSON = 100 << 20


class ModelError(ValueError):
    """A checkpoint that can't be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Lazy:
    """A tensor that is computed or read from `origin` (for messages) whenever it is indexed, as transformers does."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    origin: str = ""

    def __getitem__(self, index: Any) -> Tensor:
        return self.read()[index]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def held(tensor: Tensor) -> Lazy:
    """A tensor in memory as a lazy one."""
    return Lazy(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError for anything else."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f"{path} is larger than {_LARGEST_JSON >> 20} MB: no file of a checkpoint is that.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON ({error}){_why_broken(path)}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(found).__name__}{_why_broken(path)}")
    return found


def stored_tensors(folder: Path) -> dict[str, Lazy]:
    """Every tensor of a folder's weight files, by name.

    Looks for model.safetensors, its index, pytorch_model.bin, its index, then for a single other .safetensors file.
    Raises ModelError, naming the file, when there are none, a shard is missing or damaged, or the index names a tensor
    that its shard has not.
    """
    for single, index in zip(SINGLE, INDEXED, strict=True):
        if (folder / single).is_file():
            return file_tensors(folder / single)
        if (folder / index).is_file():
            return _indexed(folder / index)
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return file_tensors(others[0])
    if others:
        raise ModelError(f"{folder} has shards ({others[0].name}, …) but no {INDEXED[0]}: {_AGAIN}")
    raise ModelError(f"{folder} is no whole checkpoint: it has no weights (*.safetensors or pytorch_model*.bin)")


def _indexed(index: Path) -> dict[str, Lazy]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(f"{index} has no weight_map from tensor names to files: {_AGAIN}")
    found: dict[str, dict[str, Lazy]] = {}
    for shard in sorted(set(names.values())):
        # A shard lies beside its index; the text of an index opens no other file.
        if shard != Path(shard).name or not shard.endswith((".safetensors", ".bin")):
            raise ModelError(f"{index} names {shard!r}, which is no .safetensors or .bin file beside it.")
        if not (index.parent / shard).is_file():
            raise ModelError(f"{index.parent / shard} is missing, which {index.name} lists: {_AGAIN}")
        found[shard] = file_tensors(index.parent / shard)
    for name, shard in names.items():
        if name not in found[shard]:
            raise ModelError(f"{index.parent / shard} has no tensor {name}, which {index.name} says it has: {_AGAIN}")
    return {name: found[shard][name] for name, shard in names.items()}


def file_tensors(path: Path) -> dict[str, Lazy]:
    """The tensors of one .safetensors or .bin file. Raises ModelError when it is damaged."""
    return _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)


def _safetensors(path: Path) -> dict[str, Lazy]:
    try:
        # The library checks that the head is sound and that head and data make up the whole file.
        with safe_open(path, framework="pt"):
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or cut short ({error}){_why_broken(path)}") from error
    found = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise ModelError(f"{path}: tensor {name} is of type {entry['dtype']}, which no Qwen-VL uses.")
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        found[name] = _in_file(path, 8 + length + entry["data_offsets"][0], shape, dtype, name)
    return found


def _pytorch(path: Path) -> dict[str, Lazy]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        # Fake tensors hold no data, but their storages say where in the file it lies.
        with FakeTensorMode():
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and storage fail in their own ways
        reason = "it holds more than tensors" if "eights only" in str(error) else str(error).split(". ")[0]
        raise ModelError(f"{path} could not be read as a PyTorch file ({reason}){_why_broken(path)}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ModelError(f"{path} must hold a dictionary of tensors and nothing else.")
    found = {}
    for name, tensor in state.items():
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if begin is None:
            raise ModelError(
                f"{path} is in PyTorch's format from before 1.6: load it with torch.load, save it anew with torch.save."
            )
        if tensor.dtype not in SAFETENSORS_NAMES:
            raise ModelError(f"{path}: tensor {name} is of type {tensor.dtype}, which no Qwen-VL uses.")
        begin += tensor.storage_offset() * tensor.dtype.itemsize
        shape, strides = tuple(tensor.shape), tensor.stride()
        if tensor.is_contiguous():
            found[name] = _in_file(path, begin, shape, tensor.dtype, name)
        else:
            span = 1 + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
            flat = _in_file(path, begin, (span,), tensor.dtype, name)
            found[name] = Lazy(shape, flat.dtype, _strided(flat, shape, strides), flat.origin)
    return found


def _strided(flat: Lazy, shape: tuple[int, ...], strides: tuple[int, ...]) -> Callable[[], Tensor]:
    return lambda: flat.read().as_strided(shape, strides).contiguous()


def _in_file(path: Path, begin: int, shape: tuple[int, ...], dtype: torch.dtype, name: str) -> Lazy:
    size = math.prod(shape) * dtype.itemsize
    if begin + size > path.stat().st_size:
        raise ModelError(f"{path} is cut short: tensor {name} ends behind the end of the file{_why_broken(path)}")

    def read() -> Tensor:
        # Not mapped into memory: pages of the file would count, and stay, beside the tensors made from them.
        data = torch.empty(size, dtype=torch.uint8, device="cpu")
        view, done = memoryview(data.numpy().data), 0
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            while done < size:
                count = file.readinto(view[done:])
                if not count:
                    raise ModelError(f"{path} is cut short: {_AGAIN}")
                done += count
        return data.view(dtype).view(shape)

    return Lazy(shape, dtype, read, str(path))


_AGAIN = "download or copy the checkpoint again"


def _why_broken(path: Path) -> str:
    """What to do about a file that can't be read."""
    try:
        with path.open("rb") as file:
            pointer = file.read(40).startswith(b"version https://git-lfs")
    except OSError:
        pointer = False
    if pointer:
        return ": it is only a Git LFS pointer to the file; fetch the file itself with `git lfs pull`"
    return f": {_AGAIN}"


def few(names: Iterable[str]) -> str:
    """The first three of some names and how many more there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
