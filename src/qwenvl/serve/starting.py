"""From a checkpoint to a model that answers over HTTP: which engine runs it, and under what name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwenvl.serve.api_settings import Served

QUICKSTART = Path("runs/quickstart/model")


def default_model() -> str:
    """The quickstart's model where there is one, else the packaged one."""
    return str(QUICKSTART) if (QUICKSTART / "config.json").is_file() else "nano"


def name_of(model: str) -> str:
    """What a model is called in the API: the packaged one's or the Hub's name, else its folder's."""
    from qwenvl.hub import is_hub_name
    from qwenvl.model.load import PACKAGED

    if is_hub_name(model) or (Path(model).name == model and (PACKAGED / model).is_dir()):
        return model
    path = Path(model).resolve()
    # a trained model's folder is mostly called "model"; its run has the better name
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def own(model: str, name: str, device: str, dtype: str | None, options: Mapping[str, Any]) -> Served:
    """Load a model into our own engine; `options` are `BatchingEngine`'s."""
    import torch

    from qwenvl.model.load import load
    from qwenvl.model.packed_linear import prepare_for_cpu
    from qwenvl.serve.batching import BatchingEngine
    from qwenvl.serve.threads import settle_threads

    loaded = load(model, device, getattr(torch, dtype) if dtype else None)
    prepare_for_cpu(loaded.model)
    settle_threads(loaded.model, int(options.get("running", 16)))
    config = loaded.model.config
    return Served(
        name,
        loaded.tokenizer,
        int(config.num_queries),
        int(config.vision_config.image_size),
        BatchingEngine(loaded.model, loaded.tokenizer, **options),
        vocabulary=int(config.text_config.vocab_size),
    )


def with_vllm(model: str, name: str, dtype: str | None, options: Mapping[str, Any]) -> Served:
    """Load a model into vLLM; `options` are `VllmEngine`'s."""
    from qwenvl.model.configuration import QwenVLConfig
    from qwenvl.model.convert.checkpoint import open_config
    from qwenvl.model.convert.tokenizer_files import check_tokenizer, read_tokenizer
    from qwenvl.model.load import resolve
    from qwenvl.serve.vllm_engine import VllmEngine

    folder = resolve(model)
    config = QwenVLConfig(**open_config(folder)[1])
    tokenizer = read_tokenizer(folder)
    check_tokenizer(tokenizer, config, folder)
    return Served(
        name,
        tokenizer,
        int(config.num_queries),
        int(config.vision_config.image_size),
        VllmEngine(folder, dtype=dtype, **options),
        "vllm",
        int(config.text_config.vocab_size),
    )
