"""The running batch: which row of the cache holds what, and one pass over those that prefill or decode.

Rows `0 … decoding` answer, up to `active` they read their prompts, the rest are free and keep what they held: a request
that begins like one of them takes that part over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qwenvl.model.pixels import pixel_values
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Image
from qwenvl.serve.kv import RowCache
from qwenvl.serve.requests import End, Handle, Request, Token
from qwenvl.serve.sampling import Picker

Content = tuple[int | str, ...]
"""What a row holds, token by token: an id, or of a picture's slot the picture's key."""


@dataclass(eq=False)
class Job(Handle):
    """A request in the engine, and how far it is."""

    request: Request
    deliver: Callable[[Token | End], None]
    stop: frozenset[int]
    picker: Picker
    most: int
    """Tokens of the answer."""
    deadline: float
    content: Content
    ids: list[int]
    """Prompt and answer so far."""
    features: dict[str, Tensor] = field(default_factory=dict)
    row: int = -1
    cached: int = 0
    cancelled: bool = False
    ended: bool = False
    wake: Callable[[], None] = lambda: None
    began: float = 0.0

    def cancel(self) -> None:
        """As `Handle.cancel`."""
        self.cancelled = True
        self.wake()

    @property
    def prompt(self) -> int:
        """The prompt's tokens."""
        return len(self.request.example.ids)

    @property
    def unseen(self) -> list[Image]:
        """The pictures of the prompt's rest whose embeddings are not at hand."""
        slots = self.request.example.slots
        needed = [slot.image for slot in slots if slot.start + slot.length > self.cached]
        return [image for image in needed if image.key not in self.features]


_STEP = 16
"""Prompts are read in multiples of so many tokens, padded behind."""


@dataclass
class _Row:
    held: list[int | str] = field(default_factory=list)
    job: Job | None = None
    used: int = 0


class Batch:
    """The rows and the passes over them. One thread's."""

    def __init__(self, model: QwenVLForConditionalGeneration, rows: int, context: int, dtype: torch.dtype) -> None:
        self.model = model
        self.cache = RowCache(model.config.text_config, rows, context, dtype, model.device)
        self.dtype = dtype
        self.decoding = self.active = 0
        self.reused = 0
        self._rows = [_Row() for _ in range(rows)]
        self._clock = 0

    @property
    def jobs(self) -> list[Job]:
        """Those at work, the ones that decode first."""
        return [row.job for row in self._rows[: self.active] if row.job is not None]

    def join(self, job: Job) -> None:
        """Give a job a row, with as much of its prompt as some row holds. There must be a free one."""
        # the last token is computed in any case: its logits choose the next one
        shared = [_common(row.held, job.content[: job.prompt - 1]) for row in self._rows]
        best = max(range(len(self._rows)), key=shared.__getitem__)
        free = range(self.active, len(self._rows))
        # what is mostly the same conversation goes on in its own row; else the row used longest ago is given up
        own = best in free and 2 * shared[best] >= len(self._rows[best].held)
        chosen = best if own else min(free, key=lambda number: self._rows[number].used)
        if chosen != best and shared[best]:
            self.cache.copy(best, chosen, shared[best])
        row = self._rows[chosen]
        row.held, row.job = list(job.content[: shared[best]]), job
        self._swap(chosen, self.active)
        self.active += 1
        job.cached = shared[best]
        self.reused += job.cached

    def leave(self, job: Job) -> None:
        """Free a job's row; what it holds stays until another needs the room."""
        if job.row < self.decoding:
            self.decoding -= 1
            self._swap(job.row, self.decoding)
        self.active -= 1
        self._swap(job.row, self.active)
        row = self._rows[self.active]
        self._clock += 1
        row.job, row.used = None, self._clock
        job.features.clear()

    def pixels(self, image: Image) -> Tensor:
        """A picture as the ViT reads it, (1, 3, side, side). Raises ImageError for bytes that are no picture."""
        pixels = pixel_values([image], self.model.config.vision_config.image_size)
        return pixels.to(self.model.device, self.model.dtype)

    def encode(self, pixels: Sequence[Tensor]) -> list[Tensor]:
        """The embeddings of pictures, (queries, hidden) each."""
        features = self.model.get_image_features(torch.cat(list(pixels))).pooler_output.to(self.dtype)
        # each in memory of its own: one that is kept must not keep the others
        return [one.clone() for one in features]

    def prefill(self, count: int, most: int) -> list[tuple[Job, Tensor]]:
        """Read up to `most` tokens of the prompts of the first `count` jobs that prefill.

        Gives those that are read to the end, which decode from now on, with the logits (vocabulary,) behind them.
        """
        first = self.decoding
        jobs = [row.job for row in self._rows[first : first + count] if row.job is not None]
        seen = [len(self._rows[job.row].held) for job in jobs]
        left = [job.prompt - begin for job, begin in zip(jobs, seen, strict=True)]
        # few different lengths: a CPU's library makes, and keeps, code for each shape that it meets
        new = min(_STEP * -(-max(left) // _STEP), max(1, most // count))
        embeds = self._padded([self._embed(job, begin, new) for job, begin in zip(jobs, seen, strict=True)], new)
        hidden = self._pass(first, seen, embeds)
        for job, begin in zip(jobs, seen, strict=True):
            self._rows[job.row].held += job.content[begin : begin + new]
        done = [number for number, rest in enumerate(left) if rest <= new]
        if not done:
            return []
        logits = self.model.lm_head(torch.stack([hidden[number, left[number] - 1] for number in done]))
        for number in done:
            # those before it in the block are through already, so this never passes over one that decodes
            self._swap(jobs[number].row, self.decoding)
            self.decoding += 1
        return [(jobs[number], logits[place]) for place, number in enumerate(done)]

    def decode(self) -> tuple[list[Job], Tensor]:
        """The logits (rows, vocabulary) behind the last token of every job that decodes."""
        jobs = self.jobs[: self.decoding]
        ids = torch.tensor([[job.ids[-1]] for job in jobs], device=self.model.device)
        embeds = self.model.get_input_embeddings()(ids)
        hidden = self._pass(0, [len(self._rows[job.row].held) for job in jobs], embeds)
        for job in jobs:
            self._rows[job.row].held.append(job.ids[-1])
        return jobs, self.model.lm_head(hidden[:, -1])

    def forget(self) -> None:
        """Trust nothing that the free rows hold, as after a pass that failed."""
        for row in self._rows[self.active :]:
            row.held.clear()

    def _pass(self, first: int, seen: Sequence[int], embeds: Tensor) -> Tensor:
        positions = self.cache.aim(first, seen, embeds.shape[1])
        output = self.model.model.language_model(
            inputs_embeds=embeds,
            attention_mask=self.cache.mask(positions, embeds.dtype),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _embed(self, job: Job, begin: int, new: int) -> Tensor:
        """The embeddings of a prompt's next tokens, pictures in their places."""
        end = min(begin + new, job.prompt)
        ids = torch.tensor(job.ids[begin:end], device=self.model.device)
        embeds: Tensor = self.model.get_input_embeddings()(ids)
        for slot in job.request.example.slots:
            low, high = max(begin, slot.start), min(end, slot.start + slot.length)
            if low < high:
                embeds[low - begin : high - begin] = job.features[slot.image.key][low - slot.start : high - slot.start]
        return embeds

    @staticmethod
    def _padded(parts: Sequence[Tensor], length: int) -> Tensor:
        out = parts[0].new_zeros(len(parts), length, parts[0].shape[-1])
        for row, part in zip(out, parts, strict=True):
            row[: part.shape[0]] = part
        return out

    def _swap(self, one: int, other: int) -> None:
        rows = self._rows
        if one != other:
            length = max(len(rows[one].held), len(rows[other].held))
            if length:
                self.cache.swap(one, other, length)
            rows[one], rows[other] = rows[other], rows[one]
        for number in (one, other):
            if (job := rows[number].job) is not None:
                job.row = number


def _common(held: Sequence[int | str], wanted: Sequence[int | str]) -> int:
    """How many items both begin with."""
    low, high = 0, min(len(held), len(wanted))
    held, wanted = tuple(held[:high]), tuple(wanted[:high])
    while low < high:
        middle = (low + high + 1) // 2
        if held[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
