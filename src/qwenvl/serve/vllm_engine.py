"""vLLM as the engine of our server: its paged cache and its kernels behind our API (docs/vllm.md).

vLLM runs the model in a process of its own, through its transformers backend and our plug-in. It gets the ids that we
rendered, so what a user typed can't become a control token there either, and tells the tokens one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from qwenvl.model.pixels import pixel_values
from qwenvl.serve.async_engine import AsyncEngine
from qwenvl.serve.engine import Generation, ends_of
from qwenvl.serve.kv import row_bytes
from qwenvl.serve.requests import End, Limits, Request, Token
from qwenvl.text.render import Example
from qwenvl.text.tokenizer import QwenTokenizer

CONTEXT = 2048
"""Tokens of prompt and answer at most. Beyond, the paper's models need NTK of the whole prompt, which vLLM lacks."""

_BLOCK = 128
"""The largest number of tokens that vLLM reserves at once."""

_PATIENCE = 10.0
"""Seconds that vLLM's processes have to end in order."""

_SETTINGS = {
    # a process that is forked from one with threads may wait for ever
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # by default it tells its makers what is run
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


class VllmError(RuntimeError):
    """vLLM did not start; the message says why."""


class VllmEngine(AsyncEngine):
    """Answers requests by vLLM; see `qwenvl.serve.requests.Engine`."""

    def __init__(
        self,
        folder: str | Path,
        *,
        context: int | None = None,
        running: int = 16,
        waiting: int = 64,
        kept: int | None = None,
        dtype: str | None = None,
        seconds: float = 600.0,
    ) -> None:
        """`folder` holds a checkpoint of the native form. `running`, `waiting`, `kept` and `seconds` mean
        what they mean for `BatchingEngine`; `context` is at most 2,048 and the model's `seq_length`. `dtype` is what to
        compute in (default: float32 on a CPU, elsewhere the checkpoint's own). The device is the one that the
        installed vLLM is built for.

        Raises ModuleNotFoundError without vLLM, ValueError for a folder or a limit that it can't serve, VllmError where
        it does not start.
        """
        import torch

        from qwenvl.model.configuration import QwenVLConfig
        from qwenvl.model.convert.checkpoint import open_config
        from qwenvl.model.convert.tokenizer_files import read_tokenizer

        if min(running, waiting) < 1 or (kept or 0) < 0:
            raise ValueError(f"running={running} and waiting={waiting} must be 1 at least")
        folder = Path(folder)
        raw, fields = open_config(folder)
        if raw.get("model_type") != "qwenvl":
            raise ValueError(
                f"{folder} is in the released form, which vLLM can't read; "
                f"convert it: qwenvl convert {folder} NEW-FOLDER --to native"
            )
        config = QwenVLConfig(**fields)
        decoder = config.text_config
        cpu = _on_cpu()
        kind = getattr(torch, dtype) if dtype else torch.float32 if cpu else config.dtype or torch.bfloat16
        context = min(context or CONTEXT, CONTEXT, decoder.seq_length)
        rows = running + (running if kept is None else kept)
        keys = rows * row_bytes(decoder, -(-context // _BLOCK) * _BLOCK, kind)
        arguments = {
            "model": str(folder),
            "dtype": str(kind).removeprefix("torch."),
            "max_model_len": context,
            "max_num_seqs": running,
            "kv_cache_memory_bytes": keys,
            # pictures come as pixels: vLLM has nothing to hold before the ViT
            "mm_processor_cache_gb": 0.0,
            "limit_mm_per_prompt": {"image": max(1, context // (config.num_queries + 2))},
            "enforce_eager": cpu,
            "generation_config": "vllm",
            # the grammar of our own engine, and as little white space
            "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
            "disable_log_stats": True,
        }
        tokenizer, side = read_tokenizer(folder), int(config.vision_config.image_size)
        limits = Limits(context, running, waiting, keys)
        super().__init__(_Vllm(arguments, tokenizer, side), limits, seconds)


class _Vllm:
    """Implements `Answerer`; `arguments` are those of vLLM's engine."""

    def __init__(self, arguments: Mapping[str, Any], tokenizer: QwenTokenizer, side: int) -> None:
        self._arguments, self._tokenizer, self._side = arguments, tokenizer, side
        self._names = map(str, itertools.count())
        self._engine: Any = None

    async def open(self) -> None:
        """As in `Answerer`."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from qwenvl.serve.vllm_plugin import register

        register()
        # Ctrl-C goes to all processes of a terminal: vLLM's, which inherit this, must finish what still runs. Starting
        # the tracker of shared memory would take it back, so that has to come first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._arguments))
        except Exception as error:
            raise VllmError(f"vLLM could not start {self._arguments['model']}: {error}") from error

    async def answer(self, request: Request, most: int) -> AsyncGenerator[Token | End, None]:
        """As in `Answerer`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        stop = ends_of(request.options, self._tokenizer, request.example)
        wanted = sampling(request.options, stop, most, request.logprobs)
        form = None
        if request.constraint is not None:
            form = StructuredOutputsParams(json=dict(request.constraint.schema))
        parameters = SamplingParams(
            **wanted, structured_outputs=form, detokenize=False, output_kind=RequestOutputKind.DELTA
        )
        ready = await asyncio.to_thread(engine_input, request.example, self._side)
        name, cached, whole = next(self._names), 0, False
        try:
            async for output in self._engine.generate(ready, parameters, name):
                cached = output.num_cached_tokens or cached
                (part,) = output.outputs
                for token in _tokens(part, stop, request.logprobs):
                    yield token
                if part.finish_reason is not None:
                    whole = True
                    yield _end(part.finish_reason, cached)
                    return
        finally:
            if not whole:
                await self._engine.abort(name)

    @property
    def broken(self) -> bool:
        """As in `Answerer`."""
        return self._engine is None or bool(self._engine.errored)

    async def shut(self) -> None:
        """As in `Answerer`."""
        if self._engine.output_handler is not None:
            self._engine.output_handler.cancel()  # else it calls the end of the process a fault
        self._engine.shutdown(timeout=_PATIENCE)
        self._engine = None


def engine_input(example: Example, side: int) -> dict[str, Any]:
    """An example as vLLM takes what is rendered already: its ids, and pixels of `side` for its slots.

    vLLM's tokenizer and processor are not asked. Raises ImageError for bytes that are no picture.
    """
    import torch
    from transformers import BatchFeature
    from vllm.inputs.engine import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange

    if not example.slots:
        return dict(tokens_input(list(example.ids)))
    images = [slot.image for slot in example.slots]
    ones = torch.ones(len(images), dtype=torch.long)
    found = {"pixel_values": pixel_values(images, side), "num_image_patches": ones}
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


def sampling(options: Generation, stop: Sequence[int], most: int, logprobs: int | None) -> dict[str, Any]:
    """The fields of vLLM's `SamplingParams` that choose as `options` say, ending at the ids of `stop` alone."""
    return {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": 0,
        "repetition_penalty": options.repetition_penalty,
        # vLLM reads -1 as no seed
        "seed": None if options.seed is None else options.seed % 2**63,
        "max_tokens": most,
        "min_tokens": min(options.min_new_tokens, most),
        "stop_token_ids": list(stop),
        "ignore_eos": True,
        "logprobs": logprobs,
    }


def _tokens(part: Any, stop: Sequence[int], count: int | None) -> Iterator[Token]:
    for number, id in enumerate(part.token_ids):
        if id in stop:
            return
        if count is None:
            yield Token(id)
            continue
        found = part.logprobs[number]
        ranked = sorted((entry.rank, other, entry.logprob) for other, entry in found.items())
        top = tuple((other, logprob) for _, other, logprob in ranked[:count])
        yield Token(id, found[id].logprob, top)


def _end(reason: str, cached: int) -> End:
    if reason == "stop":
        return End("stop", cached)
    if reason == "length":
        return End("length", cached)
    return End("error", cached, f"vLLM ended the request: {reason}")


def _on_cpu() -> bool:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())
