"""Where a checkpoint's small files are: in a folder, in the cache of `transformers`, or on the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def local_folder(name: str | Path, files: Sequence[str], **options: Any) -> Path:
    """A folder that holds those of `files` that the checkpoint has; `name` is a folder or "owner/model".

    `options` are `transformers`' for finding files; others are left aside. Raises FileNotFoundError, naming `name`,
    where there is neither a folder nor any of the files.
    """
    chosen = {key: options[key] for key in _OPTIONS if options.get(key) is not None}
    if Path(name).is_dir():
        return Path(name) / chosen.get("subfolder", "")
    if not _NAME.fullmatch(str(name)):
        raise FileNotFoundError(f"{name}: there is no such folder; expected one with a tokenizer and a config.json")
    found: list[str] = []
    try:
        for file in files:
            path = cached_file(str(name), file, _raise_exceptions_for_missing_entries=False, **chosen)
            found += [path] if path else []
    except OSError as error:
        raise FileNotFoundError(f"{name}: no folder, and no model in the cache or on the hub: {error}") from error
    if not found:
        raise FileNotFoundError(f"{name}: none of {', '.join(files)} was found there")
    return Path(found[0]).parent
