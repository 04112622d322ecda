"""The tokenizer's files beside a converted checkpoint: `qwen.tiktoken` in the released form, tokenizer.json in ours."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.model.convert.files import ModelError
from qwenvl.text.tiktoken_file import BYTE_OF_CHARACTER, read_tiktoken
from qwenvl.text.tokenizer import QwenTokenizer

if TYPE_CHECKING:
    from qwenvl.model.configuration import QwenVLConfig

VOCABULARY = "qwen.tiktoken"


def check_tokenizer(tokenizer: QwenTokenizer, config: QwenVLConfig, folder: Path | None = None) -> None:
    """Raise ModelError unless a tokenizer's ids are the model's: a file cut short may still read, but shifts them.

    `folder`, where both came from one, is named in the message.
    """
    size = config.text_config.vocab_size
    ours = (tokenizer.img_start_id, tokenizer.img_end_id, tokenizer.image_slot_id)
    models = (config.image_start_id, config.image_end_id, config.image_slot_id)
    if ours == models and tokenizer.vocab_size <= size:
        return
    wrong = f"<img>, </img> and <imgpad> are {ours} in the tokenizer, but {models} in the model's configuration"
    if ours == models:
        wrong = f"the tokenizer has {tokenizer.vocab_size} ids, the model only {size}"
    where = ""
    if folder is not None:
        path = folder / "tokenizer.json"
        where = f"{path if path.is_file() else folder / VOCABULARY}: "
    raise ModelError(
        f"{where}{wrong}: the two are not of the same checkpoint, or the tokenizer's file is cut short; copy it from "
        "the checkpoint again"
    )


def write_tokenizer(source: Path, out: Path, form: str, config: QwenVLConfig) -> None:
    """Write the tokenizer of `source`, where it has one, into `out` in one of the forms.

    `qwen.tiktoken` stays as it is in both, so that the way back gives the same file. Raises ModelError for a tokenizer
    that is not the model's, or that the released form cannot hold.
    """
    if not any((source / name).is_file() for name in ("tokenizer.json", VOCABULARY)):
        return
    from qwenvl.model.processor import QwenVLProcessor

    tokenizer = read_tokenizer(source)
    check_tokenizer(tokenizer, config, source)
    if (source / VOCABULARY).is_file():
        shutil.copyfile(source / VOCABULARY, out / VOCABULARY)
    if form == "native":
        QwenVLProcessor(tokenizer, config).save_pretrained(out)
        return
    if not (out / VOCABULARY).is_file():
        _write_vocabulary(source / "tokenizer.json", out / VOCABULARY)
    settings: dict[str, Any] = {
        "model_max_length": config.text_config.max_position_embeddings,
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_tokenizer(folder: Path) -> QwenTokenizer:
    """The tokenizer in a folder. Raises ModelError, naming the file, when it is missing or damaged."""
    try:
        return QwenTokenizer.load(folder)
    except (ValueError, OSError) as error:
        raise ModelError(f"{error}") from error


def _write_vocabulary(source: Path, out: Path) -> None:
    """A `.tiktoken` file from a tokenizer.json: each ordinary token's bytes in base64 and its rank."""
    model = json.loads(source.read_text(encoding="utf-8"))["model"]
    ordered = sorted(model["vocab"].items(), key=lambda item: item[1])
    lines = (
        f"{base64.b64encode(bytes(BYTE_OF_CHARACTER[character] for character in token)).decode()} {rank}\n"
        for token, rank in ordered
    )
    out.write_text("".join(lines), encoding="ascii")
    _, merges = read_tiktoken(out)
    if [tuple(pair) for pair in model["merges"]] != merges:
        raise ModelError(
            f"{source}: its merges do not follow from the order of its tokens, which is all that the released form's "
            f"{VOCABULARY} keeps. Remove the tokenizer to convert the weights alone."
        )
