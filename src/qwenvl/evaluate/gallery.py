"""Right and wrong answers of a benchmark as cards, with their pictures and boxes."""

from __future__ import annotations

import hashlib
import heapq
import html
from collections.abc import Sequence
from pathlib import Path

from qwenvl.data.images import load_image
from qwenvl.evaluate.drawn import drawn, outlines
from qwenvl.evaluate.results import Answer, Result, read_answers
from qwenvl.sample import Box, Region

SHOWN = 8
"""Cards of each task; right and wrong ones in the share in which they occur, so that the page does not flatter."""

RIGHT = 0.5
"""The score from which an answer counts as right here."""

_LONGEST = 600


def gallery(result: Result, roots: Sequence[Path], count: int = SHOWN) -> str:
    """The task's cards, as HTML; nothing where there are no scored answers."""
    cards = "".join(_card(answer, roots) for answer in chosen(result, count))
    return f"<h3>{heading(result)}</h3><div class='cards'>{cards}</div>" if cards else ""


def heading(result: Result) -> str:
    """A task's name with its split, as HTML."""
    return html.escape(result.task if result.task.endswith(result.split) else f"{result.task} {result.split}")


def chosen(result: Result, count: int = SHOWN) -> list[Answer]:
    """`count` answers, right and wrong in the proportion of all, wrong ones last: by their ids, in bounded memory."""
    kept: dict[bool, list[tuple[int, int, Answer]]] = {True: [], False: []}
    totals = {True: 0, False: 0}
    for number, answer in enumerate(read_answers(result.folder)):
        if answer.score is None:
            continue
        right = answer.score >= RIGHT
        totals[right] += 1
        # the smallest digests: a draw that does not hang on the order in which answers came
        entry = (-int.from_bytes(hashlib.blake2b(answer.id.encode(), digest_size=6).digest()), -number, answer)
        (heapq.heappush if len(kept[right]) < count else heapq.heappushpop)(kept[right], entry)
    if not sum(totals.values()):
        return []
    good = max(round(count * totals[True] / sum(totals.values())), count - totals[False])
    take = {True: min(good, totals[True]), False: count - good}
    return [answer for right in (True, False) for _, _, answer in sorted(kept[right], reverse=True)[: take[right]]]


def _card(answer: Answer, roots: Sequence[Path]) -> str:
    assert answer.score is not None
    right = answer.score >= RIGHT
    badge = f'<span class="badge">{html.escape(answer.category)}</span>' if answer.category else ""
    truth = (
        ""
        if right and not answer.truth
        else f"<div class='truth'>{_text(' | '.join(dict.fromkeys(answer.targets)))}</div>"
    )
    return (
        f'<div class="card {"right" if right else "wrong"}"><div class="pictures">{_picture(answer, roots)}</div>'
        f"<div class='question'>{_text(answer.prompt)}{badge}</div>"
        f"<div class='answer'><span class='tick'>{'✓' if right else '✗'}</span> "
        f"{_text(answer.answer) or '<i>nothing</i>'} <small>{100 * answer.score:.0f}</small></div>{truth}</div>"
    )


def _text(text: str) -> str:
    text = text.strip()
    # the end of a few-shot prompt is the question
    return html.escape(text if len(text) <= _LONGEST else "…" + text[-_LONGEST:]).replace("\n", "<br>")


def _picture(answer: Answer, roots: Sequence[Path]) -> str:
    path = inside(answer.image, roots)
    if path is None:
        return f"<small>{html.escape(answer.image or '')}</small>"
    try:
        image = load_image(path)
        return drawn(image, outlines(_regions(answer.boxes), 0, "said") + outlines(_regions(answer.truth), 0, "true"))
    except (OSError, ValueError) as error:
        return f"<small>{html.escape(f'{path.name}: {error}'[:200])}</small>"


def _regions(boxes: tuple[Box, ...]) -> list[Region]:
    return [Region(None, (box,)) for box in boxes]


def inside(name: str | None, roots: Sequence[Path]) -> Path | None:
    """The file that an answer names, where it lies below one of `roots`: a results file may come from anybody."""
    for root in roots if name else ():
        for path in (Path(name or ""), root / (name or "")):
            try:
                found = path.resolve()
                if found.is_relative_to(root.resolve()) and found.is_file():
                    return found
            except (OSError, ValueError):
                continue
    return None
