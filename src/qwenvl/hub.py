"""A checkpoint's folder, from a path or from a name on the Hugging Face Hub.

Only a name that the caller gave is ever looked up; a path or a name inside a file or a text opens nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SMALL = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "quantize_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "qwen.tiktoken",
)
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
"""What `from_pretrained` says about where and how files are found."""


def hub_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some arguments of `from_pretrained` that `local_folder` takes."""
    return {key: arguments[key] for key in OPTIONS if arguments.get(key) is not None}


def is_hub_name(name: str | Path) -> bool:
    """Whether a name can only be meant for the Hub: `owner/name`, and no file or folder here."""
    return bool(_NAME.fullmatch(str(name))) and not Path(name).exists()


def local_folder(name: str | Path, weights: bool = True, **options: Any) -> Path:
    """The folder of a checkpoint on this machine.

    A path is given back as it is (with `subfolder`, that folder in it). **A name on the Hub such as
    "Qwen/Qwen-VL-Chat" is downloaded** into Hugging Face's cache, unless it is there already: the files this project
    reads, no code; `weights=False` leaves out the weights. `options` are some of `OPTIONS`.

    Raises OSError when the Hub has no such checkpoint, or cannot be reached.
    """
    if not is_hub_name(name):
        return Path(name) / options.get("subfolder", "")
    from transformers.utils.hub import cached_file

    try:
        config = cached_file(str(name), "config.json", **options)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"{name} is no folder here, and as a name on the Hugging Face Hub it failed: {reason}") from error
    if config is None:
        raise OSError(f"{name} is no folder here, and on the Hugging Face Hub it has no config.json.")
    folder = Path(config).parent
    options["_raise_exceptions_for_missing_entries"] = False
    # All from the state of the repository that the first file came from.
    if re.fullmatch("[0-9a-f]{40}", folder.name):
        options["revision"] = folder.name
    for file in _SMALL[1:]:
        cached_file(str(name), file, **options)
    for single, index in _WEIGHTS if weights else ():
        if cached_file(str(name), single, **options):
            break
        found = cached_file(str(name), index, **options)
        if found:
            for shard in _shards(Path(found)):
                cached_file(str(name), shard, **options)
            break
    return folder


def _shards(index: Path) -> list[str]:
    """The files beside an index that it lists; what is wrong with them is said when they are read."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
    return sorted(name for name in names if isinstance(name, str) and name == Path(name).name)
