"""A checkpoint folder as one thing, whatever form it is in: its configuration, and its tensors in either form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.hub import no_folder
from qwenvl.model.convert.files import Lazy, ModelError, few, held, read_json, stored_tensors
from qwenvl.model.convert.gptq import Quantization, dequantized
from qwenvl.model.convert.official import native_view, released_view
from qwenvl.model.convert.official_config import is_released, native_config

if TYPE_CHECKING:
    from qwenvl.model.configuration import QwenVLConfig

HEAD = "lm_head.weight"
"""In both forms; a checkpoint whose head is tied to the embeddings need not have it."""

_DERIVED_ENDINGS = (".rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias")


@dataclass(frozen=True)
class Checkpoint:
    """What `open_checkpoint` found. `fields` are those of a `QwenVLConfig`; `tensors` are in the form of the folder."""

    folder: Path
    released: bool
    raw: dict[str, Any]
    fields: dict[str, Any]
    tensors: dict[str, Lazy]

    @property
    def quantization(self) -> dict[str, Any] | None:
        """The `quantization_config` of the folder, or None."""
        return self.raw.get("quantization_config")

    @property
    def heads(self) -> int:
        """The ViT's."""
        return int(self.fields["vision_config"]["heads"])

    def native(self) -> dict[str, Lazy]:
        """The tensors in the native form."""
        return native_view(self.tensors, self.heads) if self.released else dict(self.tensors)

    def in_released(self) -> dict[str, Lazy]:
        """The tensors in the released form."""
        return dict(self.tensors) if self.released else released_view(self.tensors, self.heads)


def open_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A folder's `config.json` as it is, and as the fields of a `QwenVLConfig`. Raises ModelError for no Qwen-VL."""
    path = folder / "config.json"
    if not path.is_file():
        if not folder.is_dir():
            what = f"{folder} is a file, not a folder" if folder.exists() else no_folder(folder)
            raise ModelError(f"{what}. Expected a checkpoint folder, with config.json and weights in it.")
        inner = folder / "model"
        hint = f"; did you mean {inner}?" if (inner / "config.json").is_file() else ""
        if (folder / "adapter_config.json").is_file():
            hint = ": it holds a PEFT adapter. Load its base model, then PeftModel.from_pretrained(model, folder)"
        raise ModelError(f"{folder} is no checkpoint folder: it has no config.json{hint}")
    raw = read_json(path)
    if is_released(raw):
        try:
            return raw, native_config(raw)
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from error
    if raw.get("model_type") != "qwenvl":
        raise ModelError(
            f"{path}: model_type is {raw.get('model_type')!r}; expected 'qwenvl', or 'qwen' with a 'visual' block "
            "(the released form). This is a checkpoint of another model."
        )
    return raw, raw


def read_config(folder: Path) -> QwenVLConfig:
    """A folder's configuration. Raises ModelError for sizes that no model can have."""
    from qwenvl.model.configuration import QwenVLConfig

    try:
        return QwenVLConfig.from_pretrained(folder)
    except ModelError:
        raise
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a folder in the released or the native form; GPTQ weights of the released form appear as plain ones.

    Only the heads of the weight files are read. Raises ModelError, naming the file, for whatever cannot be used.
    """
    raw, fields = open_config(folder)
    tensors, released = stored_tensors(folder), is_released(raw)
    if released:
        found, source = raw.get("quantization_config"), folder / "config.json"
        beside = folder / "quantize_config.json"
        if found is None and any(name.endswith(".qweight") for name in tensors):
            # AutoGPTQ's own file, from before there was a place for it in config.json.
            found, source = (read_json(beside) if beside.is_file() else {}), beside
        if found is not None:
            tensors = dequantized(tensors, Quantization.of(found, source))
        tensors = {name: tensor for name, tensor in tensors.items() if not is_derived(name)}
    return Checkpoint(folder, released, raw, fields, tensors)


def is_derived(name: str) -> bool:
    """Whether a tensor follows from the configuration: some checkpoints carry such ones all the same."""
    return name.startswith("transformer.") and name.endswith(_DERIVED_ENDINGS)


def check_tensors(checkpoint: Checkpoint, config: Any, missing: bool = True, shapes: bool = True) -> None:
    """Raise ModelError unless the checkpoint has every tensor that the model of `config` needs, in its shape.

    `missing` and `shapes` say which of the two is looked at.
    """
    wanted = expected_tensors(config, checkpoint.released)
    lacking = set(wanted) - set(checkpoint.tensors) - ({HEAD} if config.tie_word_embeddings else set())
    if missing and lacking:
        raise ModelError(
            f"{checkpoint.folder}: its weights lack {few(lacking)}; they do not fit its config.json. "
            "Check that both are of the same checkpoint, and that it was copied whole."
        )
    if not shapes:
        return
    for name, tensor in checkpoint.tensors.items():
        shape = wanted.get(name, tensor).shape
        if tensor.shape != shape:
            raise ModelError(
                f"{tensor.origin}: tensor {name} has the shape {list(tensor.shape)}, but by config.json it must be "
                f"{list(shape)}. Check that both are of the same checkpoint."
            )


def unknown_tensors(checkpoint: Checkpoint, config: Any) -> list[str]:
    """The names of tensors that the model of `config` has no use for."""
    return sorted(set(checkpoint.tensors) - set(expected_tensors(config, checkpoint.released)))


def expected_tensors(config: Any, released: bool) -> Mapping[str, Lazy]:
    """Names, shapes of every tensor of a model, in one of the forms; nothing can be read from them."""
    import torch

    from qwenvl.model.qwenvl import QwenVLForConditionalGeneration

    with torch.device("meta"):
        state = QwenVLForConditionalGeneration(config).state_dict()
    lazy = {name: held(tensor) for name, tensor in state.items()}
    return released_view(lazy, config.vision_config.heads) if released else lazy
