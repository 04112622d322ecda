"""What the question sets share: their items, and metrics of one answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from qwenvl.data.sources.public.entry import LETTERS, Entry, Question
from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks.benchmark import Answer, Data, Each, Item
from qwenvl.serve.engine import Generation

FORM = "{question} Answer:"
"""The prompt of the VQA family."""

SHORT, LONG = Generation(max_new_tokens=10), Generation(max_new_tokens=100)
"""Decoding of questions about scenes, and of those about documents and charts."""


def items(data: Data) -> Iterator[Item]:
    """An item a question."""
    for entry in data.entries():
        for question in entry.questions:
            yield item(entry, question)


def item(entry: Entry, question: Question) -> Item:
    """A question as the VQA family asks it; of one with choices the answer is the choice's words."""
    answers, answer = question.answers, question.answer
    if question.choices and answer:
        answer = question.choices[LETTERS.index(answer)]
        answers = (answer,)
    return Item(
        id=question.id or entry.id,
        prompt=FORM.format(question=question.text),
        entry=bare(entry),
        answers=answers,
        answer=answer,
        category=question.kind,
        meta={"question": question.text},
    )


def bare(entry: Entry) -> Entry:
    """The entry's picture alone: the questions of a picture share it."""
    return replace(entry, questions=(), captions=(), phrases=(), lines=())


def vqa(answer: Answer) -> float:
    """The reference's VQA score."""
    return metrics.vqa_accuracy(answer.text, answer.item.answers, mode="qwen")


def vqa_official(answer: Answer) -> float:
    """The VQA site's score."""
    return metrics.vqa_accuracy(answer.text, answer.item.answers, mode="official")


def vqa_m4c(answer: Answer) -> float:
    """The score of M4C's evaluator, usual for TextVQA."""
    return metrics.vqa_accuracy(answer.text, answer.item.answers, mode="m4c")


def anls(answer: Answer) -> float:
    """ANLS at 0.5."""
    return metrics.anls(answer.text, answer.item.answers)


def exact(answer: Answer) -> float:
    """1 for one of the answers, case and outer space aside."""
    return float(any(metrics.exact_match(answer.text, true) for true in answer.item.answers))


VQA: Mapping[str, Each] = {"vqa_accuracy": vqa, "vqa_accuracy_official": vqa_official}
"""The metrics of VQAv2's form; the first is the reference's."""
