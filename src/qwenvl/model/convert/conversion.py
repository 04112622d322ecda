"""`qwenvl convert`: a checkpoint from the released to the native form or back, one tensor at a time, and checked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from qwenvl.model.convert.checkpoint import Checkpoint, check_tensors, open_checkpoint, read_config, unknown_tensors
from qwenvl.model.convert.files import Lazy, ModelError, few, read_json
from qwenvl.model.convert.official_config import released_config
from qwenvl.model.convert.tokenizer_files import VOCABULARY, read_tokenizer, write_tokenizer
from qwenvl.model.convert.write import write_tensors

Form = Literal["native", "released"]

_MARK = ".qwenvl-convert"
_GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Converted:
    """What `convert` did: the folder, its form, tensors and bytes that were read back and compared."""

    folder: Path
    form: Form
    tensors: int
    size: int


def convert(
    source: Path, out: Path, to: Form | None = None, max_shard_size: int | str = "5GB", bars: bool = True
) -> Converted:
    """Write the checkpoint `source` to the new folder `out` in the form `to`, by default the one it is not in.

    Only one tensor is in memory at a time. All is written to a folder `out` + ".partial", read back, mapped to the
    source's form and compared with the source byte for byte; then the folder gets its name. GPTQ weights come out as
    floating-point ones (see `gptq`). Configuration, generation_config.json and tokenizer go along; code does not. A
    chat model's native form lists `<|im_end|>` among the ids that end an answer, which other engines go by.

    Raises ModelError when `source` is no whole Qwen-VL checkpoint, `out` exists, the form cannot say what the model
    is, there is no room on the disk, or what was written is not what was read.
    """
    if out.exists():
        raise ModelError(f"{out} exists already: give a folder that is to be made, or remove it first.")
    checkpoint = open_checkpoint(source)
    if not checkpoint.released and checkpoint.quantization is not None:
        raise ModelError(f"{source} is quantised; only GPTQ in the released form can be converted.")
    form: Form = to or ("native" if checkpoint.released else "released")
    config = read_config(source)
    check_tensors(checkpoint, config)
    unknown = unknown_tensors(checkpoint, config)
    if unknown:
        raise ModelError(f"{source}: its weights hold {few(unknown)}, which no Qwen-VL has. Remove them first.")
    tensors = checkpoint.native() if form == "native" else checkpoint.in_released()
    fields = released_config(config) if form == "released" else None
    partial = _fresh(out, sum(tensor.size for tensor in tensors.values()))
    try:
        _write(tensors, partial, max_shard_size, bars)
        size = _verify(checkpoint, partial, form, bars, config if fields is None else fields)
        write_tokenizer(source, partial, form, config)
        _write_generation(source, partial, form)
        (partial / _MARK).unlink()
        os.rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Converted(out, form, len(checkpoint.tensors), size)


def _fresh(out: Path, size: int) -> Path:
    """The folder to work in, empty. What an earlier, killed conversion left there goes."""
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        if not (partial / _MARK).is_file():
            raise ModelError(f"{partial} is in the way: remove it, or give another name than {out}.")
        shutil.rmtree(partial)
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < size:
        raise ModelError(f"{out.parent} has {free / 1e9:.1f} GB free; the checkpoint takes {size / 1e9:.1f} GB.")
    partial.mkdir()
    (partial / _MARK).touch()
    return partial


def _write(tensors: Mapping[str, Lazy], folder: Path, max_shard_size: int | str, bars: bool) -> None:
    total = sum(tensor.size for tensor in tensors.values())
    with _bar(total, "writing", bars) as bar:
        write_tensors(tensors, folder, max_shard_size, bar.update)


def _verify(checkpoint: Checkpoint, folder: Path, form: Form, bars: bool, config: object) -> int:
    """Read back, map to the source's form, compare byte for byte. Writes config.json first; gives the bytes."""
    if isinstance(config, dict):
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    else:
        config.architectures = ["QwenVLForConditionalGeneration"]  # type: ignore[attr-defined]
        config.save_pretrained(folder)  # type: ignore[attr-defined]
    written = open_checkpoint(folder)
    back = written.in_released() if checkpoint.released else written.native()
    if back.keys() != checkpoint.tensors.keys():
        raise ModelError(f"{folder}: {few(back.keys() ^ checkpoint.tensors.keys())} went astray; nothing was kept.")
    total = sum(tensor.size for tensor in checkpoint.tensors.values())
    with _bar(total, "checking", bars) as bar:
        for name, tensor in checkpoint.tensors.items():
            if not _same_bytes(tensor.read(), back[name].read()):
                raise ModelError(f"{folder}: {name} is not what {tensor.origin} holds. Is the disk sound?")
            bar.update(tensor.size)
    return total


def _write_generation(source: Path, out: Path, form: Form) -> None:
    """generation_config.json as `source` has it, but for where a chat model's answers end.

    The reference's code stops at `<|im_end|>` by itself, so its file names `<|endoftext|>` alone.
    """
    if not (source / _GENERATION).is_file():
        return
    settings = read_json(source / _GENERATION)
    if settings.get("chat_format") == "chatml" and (out / VOCABULARY).is_file():
        tokenizer = read_tokenizer(out)
        one, both = tokenizer.eos_id, [tokenizer.eos_id, tokenizer.im_end_id]
        before, after = (one, both) if form == "native" else (both, one)
        if settings.get("eos_token_id") == before:
            text = json.dumps(settings | {"eos_token_id": after}, indent=2) + "\n"
            (out / _GENERATION).write_text(text, encoding="utf-8")
            return
    shutil.copyfile(source / _GENERATION, out / _GENERATION)


def _same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Also where there are NaNs."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))


def _bar(total: int, what: str, shown: bool) -> tqdm:
    # None: only where a terminal shows it.
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=None if shown else True)
