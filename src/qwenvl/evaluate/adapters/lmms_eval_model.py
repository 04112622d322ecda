"""A model as lmms-eval asks it. Imported by lmms-eval alone, which must be installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from qwenvl.evaluate.adapters.answerer import Answerer, question_parts
from qwenvl.sample import Part
from qwenvl.serve.engine import Generation

_LONGEST = 512
"""New tokens where a task names no number."""


class QwenVL(lmms):  # type: ignore[misc]
    """`--model_args pretrained=FOLDER,chat=True`; one process: lmms-eval's own data parallelism is refused."""

    is_simple = True

    def __init__(
        self,
        pretrained: str = "nano",
        device: str | None = None,
        dtype: str = "",
        chat: bool = True,
        batch_size: int | str = 8,
        **unknown: Any,
    ) -> None:
        """Raises ValueError for an argument that is none, and under several processes."""
        super().__init__()
        if unknown:
            raise ValueError(f"no such model argument: {', '.join(unknown)}; there are pretrained, device, dtype, chat")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "qwenvl runs in one process under lmms-eval; `torchrun … qwenvl eval` takes several devices"
            )
        self._answerer = Answerer(pretrained, device or "", dtype, chat, int(batch_size))

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers, in the requests' order; requests of the same options are answered together."""
        found: dict[int, str] = {}
        groups: dict[tuple[Generation, tuple[str, ...]], list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(_options(request.args[1]), []).append(number)
        with tqdm(total=len(requests), desc="answering") as bar:
            for (options, until), numbers in groups.items():
                step = 16 * self._answerer.batch_size
                for start in range(0, len(numbers), step):
                    chosen = numbers[start : start + step]
                    asked = [self._question(requests[i].args[0], *requests[i].args[2:6]) for i in chosen]
                    for i, text in zip(chosen, self._answerer.answers(asked, options), strict=True):
                        found[i] = cut(text, until)
                        self.cache_hook.add_partial("generate_until", requests[i].args, found[i])
                    bar.update(len(chosen))
        return [found[i] for i in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """The mean loss of each given answer, which lmms-eval's tasks take the lowest of. Whether it is the greedy one
        is not looked at: False.
        """
        found = []
        for request in tqdm(requests, desc="ranking"):
            context, target, visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            answer = target if isinstance(target, str) else target(doc)
            found.append((self._answerer.loss(self._question(context, visual, doc_id, task, split), answer), False))
        return found

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Raises ValueError: lmms-eval's model gives one answer a question."""
        raise ValueError(
            "this task asks in several rounds, and the qwenvl model of lmms-eval answers one: leave the task out of "
            "--tasks, or run its single-round form"
        )

    def _question(self, context: str, visual: Any, doc_id: Any, task: str, split: str) -> tuple[Part, ...]:
        images = visual(self.task_dict[task][split][doc_id]) if visual else []
        return question_parts(context, images or [])


def _options(asked: Mapping[str, Any]) -> tuple[Generation, tuple[str, ...]]:
    """lmms-eval's generation options as ours, and the texts that end an answer."""
    if int(asked.get("num_beams") or 1) > 1:
        raise ValueError("qwenvl decodes with one beam; the task asks for num_beams > 1")
    sampled = asked.get("do_sample", True) and float(asked.get("temperature") or 0) > 0
    until = asked.get("until") or ()
    return Generation(
        max_new_tokens=int(asked.get("max_new_tokens") or _LONGEST),
        temperature=float(asked["temperature"]) if sampled else 0.0,
        top_p=float(asked.get("top_p") or 1.0),
        seed=0,
    ), (until,) if isinstance(until, str) else tuple(until)


def cut(text: str, until: Sequence[str]) -> str:
    """A text up to the first of what ends it."""
    ends = [text.index(end) for end in until if end and end in text]
    return text[: min(ends)] if ends else text
