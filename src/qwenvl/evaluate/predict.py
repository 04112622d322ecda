"""From records to predictions: the samples that training would see, cut where the answer begins, and what the model
says there.

Question and truth come from one `Sample`, and so from the renderer that training uses; the answer comes through the
engine that chat uses.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from qwenvl.evaluate.benchmarks import scenes
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.sample import Image, Language, Part, Record, Region, Sample, Special, Task, Text
from qwenvl.serve.chat import answer_parts
from qwenvl.serve.engine import Generation, generate
from qwenvl.tasks import TASKS
from qwenvl.text.chatml import REPLY_HEADER
from qwenvl.text.render import Example, render, render_prompt
from qwenvl.text.tokenizer import QwenTokenizer

_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to answer. `truth` are the parts of the true answer, `question` the words before it.

    `objects` are the (colour, kind) pairs of what is in the picture, where the record knows; `unseen` says that the
    item is about a combination that training never showed; `kind` is the kind of a question.
    """

    sample: Sample
    prompt: Example
    truth: tuple[Part, ...]
    answer_tokens: int
    question: str
    language: Language
    unseen: bool
    kind: str = ""
    objects: tuple[tuple[str, str], ...] = ()

    @property
    def task(self) -> Task:
        """The sample's task."""
        return self.sample.task


@dataclass(frozen=True, slots=True)
class Prediction:
    """An item with what the model said: `raw` as generated, `parts` with boxes in pixels."""

    item: Item
    raw: str
    parts: tuple[Part, ...] = field(default=())

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the model pointed at or named within tags."""
        return regions_of(self.parts)

    @property
    def text(self) -> str:
        """The plain words of the answer."""
        return text_of(self.parts)


def items(
    records: Iterable[Record],
    tokenizer: QwenTokenizer,
    slots_per_image: int,
    per_record: Mapping[Task, int] = scenes.PER_SCENE,
    seed: int = 0,
    longest: int = 2048,
) -> list[Item]:
    """At most `per_record[task]` items of each task and record, drawn with `seed`; those over `longest` tokens are
    left out.

    Referring items are those with one true box, as in the paper's benchmarks (section 4.3).
    """
    found = []
    for record in records:
        rng = random.Random(f"{seed}/{record.id}")
        for task, count in per_record.items():
            samples = [sample for sample in TASKS[task](record, rng) if task != "referring" or _one_box(sample)]
            for sample in rng.sample(samples, min(count, len(samples))):
                item = _item(record, sample, tokenizer, slots_per_image)
                if item is not None and len(item.prompt.ids) + item.answer_tokens <= longest:
                    found.append(item)
    return found


def predict(
    model: QwenVLForConditionalGeneration,
    tokenizer: QwenTokenizer,
    wanted: Iterable[Item],
    batch_size: int = 64,
    progress: Callable[[str, int], None] | None = None,
) -> list[Prediction]:
    """The model's greedy answer to every item, task by task.

    A task's answers may be a quarter longer than its longest true one, and eight tokens more: enough to see a model
    that does not stop, without waiting for it. `progress` is told (task, items done) after each batch.
    """
    by_task: dict[Task, list[Item]] = {}
    for item in wanted:
        by_task.setdefault(item.task, []).append(item)
    predictions = []
    for task, group in by_task.items():
        # Long answers beside long ones: a batch takes as many steps as its longest.
        group = sorted(group, key=lambda item: item.answer_tokens)
        options = Generation(max_new_tokens=int(group[-1].answer_tokens * 1.25) + 8)
        report = (lambda done, task=task: progress(task, done)) if progress else None
        answers = generate(model, tokenizer, [item.prompt for item in group], options, batch_size, report)
        for item, ids in zip(group, answers, strict=True):
            raw = tokenizer.decode(ids)
            predictions.append(Prediction(item, raw, answer_parts(raw, item.question, item.sample.images)))
    return predictions


def regions_of(parts: Iterable[Part]) -> tuple[Region, ...]:
    """The regions among parts."""
    return tuple(part for part in parts if isinstance(part, Region))


def text_of(parts: Iterable[Part]) -> str:
    """The words among parts, those of phrases included."""
    words = (
        part.text if isinstance(part, Text) else part.phrase or "" for part in parts if isinstance(part, Text | Region)
    )
    return "".join(words).strip()


def _item(record: Record, sample: Sample, tokenizer: QwenTokenizer, slots_per_image: int) -> Item | None:
    cut = _answer_start(sample)
    truth = tuple(part for part in sample.parts[cut:] if not isinstance(part, Special | Image))
    if sample.task == "dialogue":
        truth = truth[:-1]  # the line break after <|im_end|>
    if not truth:
        return None
    question = _question(sample, cut)
    prompt = render_prompt(sample, tokenizer, slots_per_image)
    return Item(
        sample=sample,
        prompt=prompt,
        truth=truth,
        answer_tokens=len(render(sample, tokenizer, slots_per_image).ids) - len(prompt.ids),
        question=question,
        language="zh" if _CHINESE.search(question) else "en",
        unseen=_unseen(record, sample),
        kind=scenes.question_kind(question) if sample.task == "vqa" else "",
        objects=tuple(pair for pair, _ in scenes.objects(record)),
    )


def _question(sample: Sample, cut: int) -> str:
    """What is asked, as words: the user's last turn, the phrase, or the text before the answer without the form
    around it.
    """
    if sample.task == "dialogue":
        begin = max((i for i, part in enumerate(sample.parts[:cut]) if part == Text("user\n")), default=-1)
        turn = sample.parts[begin + 1 : cut - 1]
        # "Picture 2: " before a picture is the form, not the user's words.
        said = (
            re.sub(r"Picture \d+: $", "", part.text) if isinstance(turn[i + 1], Image) else part.text
            for i, part in enumerate(turn[:-1])
            if isinstance(part, Text)
        )
        return " ".join(text.strip() for text in said if text.strip())
    if sample.task == "referring":
        return " ".join(region.phrase or "" for region in regions_of(sample.parts))
    words = " ".join(
        part.text if isinstance(part, Text) else part.phrase or ""
        for part in sample.parts[:cut]
        if isinstance(part, Text | Region)
    )
    return re.sub(r"\s*(?:Answer|答案|回答|答)\s*[:：]\s*$", "", words).strip()


def _answer_start(sample: Sample) -> int:
    """The index of the first part of the answer: as `render_prompt` cuts."""
    if sample.task == "dialogue":
        headers = [i for i, part in enumerate(sample.parts) if part == Text(REPLY_HEADER)]
        return headers[-1] + 1 if headers else len(sample.parts)
    for i, part in enumerate(sample.parts):
        if isinstance(part, Text | Special | Region) and (part.supervised or getattr(part, "phrase_supervised", False)):
            # The phrase of a referring item is the question, its boxes are the answer: the region is both.
            return i
    return len(sample.parts)


def _unseen(record: Record, sample: Sample) -> bool:
    """By the thing in question where there is one (its box is in the sample), else by whether the scene has an unseen
    one.
    """
    if sample.task in ("referring", "grounded_caption"):
        boxes = [box for region in regions_of(sample.parts) for box in region.boxes]
        return any(scenes.unseen_at(record, box) for box in boxes)
    return bool(record.meta.get("unseen", False))


def _one_box(sample: Sample) -> bool:
    return sum(len(region.boxes) + len(region.quads) for region in regions_of(sample.parts)) == 1
