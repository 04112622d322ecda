"""Reading and writing whole checkpoints, in the native and in the released form: what both model classes share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from qwenvl.hub import OPTIONS, hub_options, local_folder
from qwenvl.model.convert.checkpoint import HEAD, Checkpoint, check_tensors, open_checkpoint, open_config, read_config
from qwenvl.model.convert.files import ModelError, held
from qwenvl.model.convert.official import is_released, released_view
from qwenvl.model.convert.official_config import released_config
from qwenvl.model.convert.tokenizer_files import VOCABULARY
from qwenvl.model.convert.write import write_tensors
from qwenvl.model.quantize import use_kernels


class CheckpointModel(PreTrainedModel):  # type: ignore[misc]
    """A transformers model that also reads and writes the released form."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None,
        *args: Any,
        config: PreTrainedConfig | str | Path | None = None,
        **kwargs: Any,
    ) -> Any:
        """A model from a folder in the native or the released form, or from a name on the Hugging Face Hub.

        A name such as "Qwen/Qwen-VL-Chat" is **downloaded** into Hugging Face's cache (see `qwenvl.hub`). The released
        form needs no remote code; safetensors and PyTorch files, single or in shards, go tensor by tensor to their
        places, so memory holds the model and a few tensors. GPTQ weights (Qwen-VL-Chat-Int4) are dequantised.
        Other arguments are those of `PreTrainedModel.from_pretrained`.

        Raises ModelError, naming the file, for what is no checkpoint or no whole one; OSError when the Hub fails.
        """
        if pretrained_model_name_or_path is None:
            return super().from_pretrained(None, *args, config=config, **kwargs)
        folder = local_folder(pretrained_model_name_or_path, **hub_options(kwargs))
        # Found: nothing more is to be looked up.
        kwargs = {key: value for key, value in kwargs.items() if key not in OPTIONS}
        raw, _ = open_config(folder)
        if not is_released(raw) and raw.get("quantization_config") is not None:
            loaded = super().from_pretrained(folder, *args, config=config, **kwargs)
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            if getattr(model, "quantization_method", None) == "torchao":
                use_kernels(model)
            return loaded
        checkpoint = open_checkpoint(folder)
        made = config if isinstance(config, PreTrainedConfig) else read_config(Path(config or folder))
        # In a native folder a part may be missing, which then starts as in a new model.
        check_tensors(checkpoint, made, checkpoint.released, not kwargs.get("ignore_mismatched_sizes"))
        if not checkpoint.released:
            return super().from_pretrained(folder, *args, config=config, **kwargs)
        info = kwargs.pop("output_loading_info", False)
        model, found = super().from_pretrained(
            None,
            *args,
            config=config or str(folder),
            state_dict=checkpoint.native(),
            output_loading_info=True,
            **_released_options(checkpoint, made, kwargs),
        )
        model.config.name_or_path = str(pretrained_model_name_or_path)
        return (model, found) if info else model

    def save_pretrained(
        self, save_directory: str | Path, *, form: Literal["native", "released"] = "native", **kwargs: Any
    ) -> None:
        """Write a folder that `from_pretrained` reads: `form` "native", or "released", the published checkpoints' own.

        For "native", other arguments are those of `PreTrainedModel.save_pretrained`. "released" takes `max_shard_size`,
        `state_dict` and `is_main_process`, writes one tensor at a time, and copies the `qwen.tiktoken` of the folder
        that the model was read from. Raises ValueError when the released form cannot say what this model is.
        """
        if form not in ("native", "released"):
            raise ValueError(f'form is "native" or "released", not {form!r}.')
        if form == "released":
            self._save_released(Path(save_directory), **kwargs)
            return
        # The names in the file are then those of the modules, whatever parts of other models are in it.
        super().save_pretrained(save_directory, **{"save_original_format": False, **kwargs})

    def _save_released(
        self,
        folder: Path,
        *,
        state_dict: Mapping[str, Tensor] | None = None,
        max_shard_size: int | str = "5GB",
        is_main_process: bool = True,
    ) -> None:
        config = released_config(self.config)
        if not is_main_process:
            return
        state = dict(self.state_dict() if state_dict is None else state_dict)
        if self.config.tie_word_embeddings:
            state.pop(HEAD, None)
        folder.mkdir(parents=True, exist_ok=True)
        lazy = {name: held(tensor) for name, tensor in state.items()}
        write_tensors(released_view(lazy, self.config.vision_config.heads), folder, max_shard_size)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        if self.can_generate():
            self.generation_config.save_pretrained(folder)
        vocabulary = Path(self.config.name_or_path or "") / VOCABULARY
        if vocabulary.is_file() and not (folder / VOCABULARY).exists():
            shutil.copyfile(vocabulary, folder / VOCABULARY)


def _released_options(checkpoint: Checkpoint, config: PreTrainedConfig, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments for transformers, with what it would otherwise look for in the files itself."""
    dtype = options.pop("dtype", None) or options.pop("torch_dtype", None) or "auto"
    if dtype == "auto":
        kinds = (tensor.dtype for tensor in checkpoint.tensors.values() if tensor.dtype.is_floating_point)
        dtype = config.dtype or next(kinds, torch.float32)
    options["dtype"] = dtype
    path = checkpoint.folder / "generation_config.json"
    if options.get("generation_config") is None and path.is_file():
        try:
            options["generation_config"] = GenerationConfig.from_pretrained(checkpoint.folder)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{path} could not be read: {error}") from error
    return options
