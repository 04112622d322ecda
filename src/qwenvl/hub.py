"""A checkpoint's folder, from a path or from a name on the Hugging Face Hub.

Only a name that the caller gave is ever looked up; a path or a name inside a file or a text opens nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwenvl.typed import nearest

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

    The Hub is asked once. Where it does not answer, what the cache has is taken; where that has nothing, OSError says
    so at once.
    """
    if not is_hub_name(name):
        return Path(name) / options.get("subfolder", "")
    from transformers.utils.hub import cached_file

    reason = _refusal(str(name), options)
    if reason:
        # else each missing file is asked for six times, with pauses
        options["local_files_only"] = True
    try:
        config = cached_file(str(name), "config.json", **options)
    except OSError as error:
        config, reason = None, reason or _first_line(error)
    if config is None:
        raise OSError(
            f"{no_folder(name)}. As a name on the Hugging Face Hub it is not in the local cache, and "
            f"{reason or 'it has no config.json there'}"
        )
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


def no_folder(name: str | Path) -> str:
    """What to say of a folder that is missing: "there is no folder X", and what there is with nearly that name."""
    path = Path(name)
    while path != path.parent and not path.parent.is_dir():
        path = path.parent
    try:
        there = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        there = []
    return f"there is no folder {name}{nearest(path.name, there)}"


def _refusal(name: str, options: Mapping[str, Any]) -> str | None:
    """Why the Hub does not give a checkpoint, as the end of a sentence; None where it does."""
    if options.get("local_files_only"):
        return "local_files_only forbids to fetch it"
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    revision = options.get("revision")
    try:
        # asks once, unlike all that downloads
        get_hf_file_metadata(
            hf_hub_url(name, "config.json", subfolder=options.get("subfolder"), revision=revision),
            token=options.get("token"),
        )
    except errors.OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE forbids to fetch it"
    except errors.GatedRepoError:
        return f"to fetch it you must accept its terms (https://huggingface.co/{name}) and log in: hf auth login"
    except errors.RepositoryNotFoundError:
        return "the Hub has no model of that name, or a private one (log in: hf auth login)"
    except errors.RevisionNotFoundError:
        return f"the Hub has no revision {revision} of it"
    except errors.EntryNotFoundError:
        return "it has no config.json there"
    except errors.HFValidationError as error:
        return f"it can't be one: {_first_line(error)}"
    except (
        Exception
    ) as error:  # every way in which a network can fail, of a client that is the Hub library's own affair
        return f"could not be fetched: {_first_line(error)}"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shards(index: Path) -> list[str]:
    """The files beside an index that it lists; what is wrong with them is said when they are read."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
    return sorted(name for name in names if isinstance(name, str) and name == Path(name).name)
