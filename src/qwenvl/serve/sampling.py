"""The choice of a row's next token: what `generate` would choose for the same request alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList, MinNewTokensLengthLogitsProcessor, RepetitionPenaltyLogitsProcessor

from qwenvl.serve.requests import Request, Token


class Picker:
    """Chooses the tokens of one request. `plain`: the likeliest is all that it wants."""

    def __init__(self, request: Request, stop: Sequence[int], device: torch.device) -> None:
        self._request = request
        options, prompt = request.options, request.example.ids
        steps = LogitsProcessorList()
        if options.repetition_penalty != 1.0:
            steps.append(RepetitionPenaltyLogitsProcessor(options.repetition_penalty))
        if options.min_new_tokens:
            steps.append(
                MinNewTokensLengthLogitsProcessor(len(prompt), options.min_new_tokens, list(stop), device=str(device))
            )
        if options.temperature > 0:
            seed = int.from_bytes(os.urandom(7)) if options.seed is None else options.seed
            steps += options.drawing(seed)
        self._steps = steps
        self.plain = not steps and request.constraint is None and request.logprobs is None

    def choose(self, logits: Tensor, ids: Sequence[int]) -> Token:
        """The next token for the logits (vocabulary,), behind `ids`, prompt and answer so far.

        Raises ValueError where no token may follow, as of a constraint that this vocabulary can not meet.
        """
        raw = logits.float()
        scores = raw
        constraint = self._request.constraint
        if constraint is not None:
            allowed = torch.from_numpy(constraint.allowed()).to(raw.device)
            if not bool(allowed.any()):
                raise ValueError("no token may follow: the form asked for can not be met in this vocabulary")
            if allowed.shape[0] < raw.shape[0]:  # embeddings may be padded beyond the tokenizer
                allowed = torch.nn.functional.pad(allowed, (0, raw.shape[0] - allowed.shape[0]))
            scores = raw.masked_fill(~allowed[: raw.shape[0]], -torch.inf)
        if self._steps:
            before = torch.tensor([list(ids)], device=raw.device)
            scores = self._steps(before, scores[None])[0]
        chosen = int(scores.argmax())
        if constraint is not None:
            constraint.accept(chosen)
        return self._token(chosen, raw)

    def _token(self, chosen: int, raw: Tensor) -> Token:
        count = self._request.logprobs
        if count is None:
            return Token(chosen)
        logprobs = raw.log_softmax(-1)
        top = logprobs.topk(count) if count else None
        pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top is not None else ()
        return Token(chosen, float(logprobs[chosen]), pairs)
