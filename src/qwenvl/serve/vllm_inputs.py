"""What vLLM is given and gives: settings, a prompt as ids and pixels, how to choose tokens, and the tokens chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.pixels import pixel_values
from qwenvl.serve.requests import Request, Token
from qwenvl.text.render import Example


@dataclass(frozen=True, slots=True)
class Arguments:
    """`engine` is for vLLM's `AsyncEngineArgs`; `torch_dtype` is what keys and values are kept in."""

    engine: dict[str, Any]
    torch_dtype: torch.dtype


def engine_arguments(
    folder: Path,
    config: QwenVLConfig,
    context: int,
    running: int,
    pictures: int,
    dtype: str | None,
    more: Mapping[str, Any],
) -> Arguments:
    """A server's settings. It computes in float32 on a CPU, elsewhere in the checkpoint's type, unless `dtype` says."""
    from vllm.platforms import current_platform

    if dtype is None:
        own = str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")
        dtype = "float32" if current_platform.is_cpu() else own
    engine = {
        "model": str(folder),
        "dtype": dtype,
        "max_model_len": context,
        "max_num_seqs": running,
        "limit_mm_per_prompt": {"image": pictures},
        # pictures come as pixels: there is nothing for its processor's cache to hold
        "mm_processor_cache_gb": 0.0,
        "enable_prefix_caching": True,
        "generation_config": "vllm",
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        **more,
    }
    return Arguments(engine, getattr(torch, dtype))


def engine_input(example: Example, config: QwenVLConfig) -> dict[str, Any]:
    """An example as vLLM takes what is tokenised already. Raises ImageError for bytes that are no picture."""
    from transformers import BatchFeature
    from vllm.inputs.engine import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange

    if not example.slots:
        return dict(tokens_input(list(example.ids)))
    images = [slot.image for slot in example.slots]
    ones = torch.ones(len(images), dtype=torch.long)
    found = {"pixel_values": pixel_values(images, config.vision_config.image_size), "num_image_patches": ones}
    fields = {
        "pixel_values": MultiModalFieldConfig.flat_from_sizes("image", ones),
        "num_image_patches": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
    }
    return dict(
        mm_input(
            list(example.ids),
            MultiModalKwargsItems.from_hf_inputs(BatchFeature(found), fields),
            {"image": [image.key for image in images]},
            {"image": [PlaceholderRange(offset=slot.start, length=slot.length) for slot in example.slots]},
        )
    )


def sampling(request: Request, stop: Sequence[int], most: int) -> Any:
    """A request's options as vLLM's `SamplingParams`; it stops at `stop` and at no other id."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    options, form = request.options, None
    if request.constraint is not None:
        form = StructuredOutputsParams(json=dict(request.constraint.schema))
    return SamplingParams(
        temperature=options.temperature,
        top_p=options.top_p if options.temperature > 0 else 1.0,
        repetition_penalty=options.repetition_penalty,
        seed=options.seed,
        max_tokens=most,
        min_tokens=min(options.min_new_tokens, most),
        logprobs=request.logprobs,
        stop_token_ids=list(stop),
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=form,
    )


def tokens_of(answer: Any, wanted: int | None) -> Iterator[Token]:
    """The tokens of a piece of an answer (vLLM's `CompletionOutput`), with `wanted` likeliest ones beside each."""
    for place, number in enumerate(answer.token_ids):
        if wanted is None or not answer.logprobs:
            yield Token(number)
            continue
        found = answer.logprobs[place]
        ranked = sorted((entry.rank, other) for other, entry in found.items() if entry.rank and entry.rank <= wanted)
        top = tuple((other, float(found[other].logprob)) for _, other in ranked)
        yield Token(number, float(found[number].logprob), top)
