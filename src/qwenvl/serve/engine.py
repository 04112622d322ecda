"""Generation: Examples in, new token ids out; batched with left padding, or streamed piece by piece with a stop flag.

Everything that answers (chat, server, evaluation) goes through here, and through the model's own `generate`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from qwenvl.model.pixels import pixel_values
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Image, Task
from qwenvl.text.render import Example
from qwenvl.text.tokenizer import QwenTokenizer


@dataclass(frozen=True, slots=True)
class Generation:
    """How to generate. `temperature` 0 is greedy; `stop` overrides the ids that end an answer, which before
    `min_new_tokens` are not chosen.

    With a `seed`, sampling gives the same answer to the same question again, whatever stands beside it in the batch.
    """

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop: tuple[int, ...] | None = None
    seed: int | None = None

    def arguments(self, stop: Sequence[int], pad: int) -> dict[str, Any]:
        """As keywords of transformers' `generate`, for one call: a seed starts anew with each."""
        sampling: dict[str, Any] = {}
        if self.temperature > 0 and self.seed is None:
            sampling = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        elif self.temperature > 0 and self.seed is not None:
            sampling = {"logits_processor": self.drawing(self.seed)}
        return {
            "do_sample": False,
            "max_new_tokens": self.max_new_tokens,
            "min_new_tokens": self.min_new_tokens or None,
            "repetition_penalty": self.repetition_penalty,
            "eos_token_id": list(stop),
            "pad_token_id": pad,
            **sampling,
        }

    def drawing(self, seed: int) -> LogitsProcessorList:
        """The steps after which the likeliest id is one drawn at `temperature` and `top_p`; for one call."""
        narrowed = [TopPLogitsWarper(self.top_p)] if self.top_p < 1 else []
        return LogitsProcessorList([TemperatureLogitsWarper(self.temperature), *narrowed, _Draw(seed)])


def stop_ids(tokenizer: QwenTokenizer, task: Task) -> tuple[int, ...]:
    """The ids that end an answer: <|endoftext|> always, <|im_end|> too in a dialogue."""
    return (tokenizer.eos_id, tokenizer.im_end_id) if task == "dialogue" else (tokenizer.eos_id,)


def inputs(
    model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, examples: Sequence[Example]
) -> dict[str, torch.Tensor]:
    """Examples as one left-padded batch on the model's device: the keywords of the model's `generate`.

    `input_ids` and `attention_mask` are (B, L). A picture that stands in several examples is encoded once:
    `pixel_values` is (N, 3, S, S) for N different pictures and `image_index` (K,) says which one each of the batch's
    K runs of slots shows.
    """
    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), tokenizer.eos_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    pictures: dict[str, tuple[int, Image]] = {}
    index = []
    for row, example in enumerate(examples):
        ids[row, length - len(example.ids) :] = torch.tensor(example.ids, dtype=torch.long)
        mask[row, length - len(example.ids) :] = 1
        for slot in example.slots:
            index.append(pictures.setdefault(slot.image.key, (len(pictures), slot.image))[0])
    batch = {"input_ids": ids, "attention_mask": mask}
    if pictures:
        size = model.config.vision_config.image_size
        batch["pixel_values"] = pixel_values([image for _, image in pictures.values()], size).to(model.dtype)
        batch["image_index"] = torch.tensor(index, dtype=torch.long)
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def generate(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    examples: Sequence[Example],
    options: Generation = Generation(),
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """The new ids of each example, in the order given, without the id that ended it.

    Batches are made of examples of similar length that end at the same ids; `progress` is told how many examples a
    batch finished. Examples must end where the answer begins (`qwenvl.text.render.render_prompt`).
    """
    answers: list[list[int]] = [[] for _ in examples]
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in sorted(range(len(examples)), key=lambda i: len(examples[i].ids)):
        groups.setdefault(ends_of(options, tokenizer, examples[i]), []).append(i)
    model.eval()
    for stop, order in groups.items():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = inputs(model, tokenizer, [examples[i] for i in chosen])
            for i, ids in zip(chosen, answer(model, batch, options, stop, tokenizer.eos_id), strict=True):
                answers[i] = ids
            if progress is not None:
                progress(len(chosen))
    return answers


def answer(
    model: QwenVLForConditionalGeneration,
    batch: Mapping[str, torch.Tensor],
    options: Generation,
    stop: Sequence[int],
    pad: int,
) -> list[list[int]]:
    """The new ids of each row of a batch that `inputs` made, without the id of `stop` that ended it."""
    with torch.inference_mode():
        output = model.generate(**batch, **options.arguments(stop, pad))
    found = []
    for ids in output[:, batch["input_ids"].shape[1] :].tolist():
        found.append(ids[: next((k for k, token in enumerate(ids) if token in stop), len(ids))])
    return found


def stream(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    example: Example,
    options: Generation = Generation(),
    stop: threading.Event | None = None,
) -> Generator[str, None, None]:
    """The answer's text as it comes, special tokens included, never half a character.

    Setting `stop`, or closing the iterator, ends the generation after the token at work. The pieces joined are what
    `generate` gives, decoded. An error of the model is raised here, in the caller's thread.
    """
    flag = stop or threading.Event()
    ends = ends_of(options, tokenizer, example)
    pieces: queue.Queue[int | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            batch = inputs(model, tokenizer, [example])
            with torch.inference_mode():
                model.generate(
                    **batch,
                    **options.arguments(ends, tokenizer.eos_id),
                    streamer=_Forward(pieces),
                    stopping_criteria=StoppingCriteriaList([_Stopped(flag)]),
                )
            pieces.put(None)
        except BaseException as error:  # handed to the caller's thread, where it is raised
            pieces.put(error)

    model.eval()
    thread = threading.Thread(target=work, name="qwenvl-generate", daemon=True)
    thread.start()
    pending: list[int] = []
    try:
        while True:
            item = pieces.get()
            if isinstance(item, BaseException):
                raise item
            if item is None or item in ends:
                break
            pending.append(item)
            text = tokenizer.decode(pending)
            # A character's bytes may come in several tokens; a model that emits broken bytes must not hold the text
            # back for long.
            if not text.endswith("\ufffd") or len(pending) >= 16:
                pending = []
                yield text
        if pending:
            yield tokenizer.decode(pending)
    finally:
        flag.set()
        thread.join()


def ends_of(options: Generation, tokenizer: QwenTokenizer, example: Example) -> tuple[int, ...]:
    """The ids that end the answer to an example: those of the options, else those of its task."""
    return options.stop if options.stop is not None else stop_ids(tokenizer, example.task)


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Makes the likeliest id a drawn one: scores + Gumbel noise have their maximum at i with probability softmax(i).

    `generate` draws a batch from the process's one random state; here each row has its own, seeded alike.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.states: list[torch.Generator] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self.states:
            self.states = [torch.Generator().manual_seed(self.seed) for _ in range(scores.shape[0])]
        waits = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=state) for state in self.states])
        return scores - waits.log().to(scores.device)


class _Forward(BaseStreamer):  # type: ignore[misc]
    """Puts each new id into a queue; the first call brings the prompt, which is skipped."""

    def __init__(self, target: queue.Queue[int | BaseException | None]) -> None:
        self.target = target
        self.prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self.prompt_seen:
            for token in value.flatten().tolist():
                self.target.put(int(token))
        self.prompt_seen = True

    def end(self) -> None:
        """Nothing to flush: the queue's end is marked by whoever runs `generate`."""


class _Stopped(StoppingCriteria):  # type: ignore[misc]
    """Ends a generation once the flag is set."""

    def __init__(self, flag: threading.Event) -> None:
        self.flag = flag

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.flag.is_set(), dtype=torch.bool, device=input_ids.device)
