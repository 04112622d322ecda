"""An `Example` as a person can check it: supervised text in blue, the rest in black, boxes drawn from the tokens.

Everything shown is read back from ids, labels and slots, never from the sample they were made of, so a wrong coordinate
or a wrong mask shows.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from qwenvl.sample import Image, Region
from qwenvl.text.chatml import picture_meant
from qwenvl.text.draw import draw_regions
from qwenvl.text.markup import to_regions
from qwenvl.text.render import IGNORED, Example
from qwenvl.text.tokenizer import QwenTokenizer

_SHOWN_SIDE = 384
_HEADER = re.compile(r"Picture (\d{1,3}): $")
_OPENING = {"<ref>": 1, "<box>": 1, "<quad>": 1, "</ref>": -1, "</box>": -1, "</quad>": -1}
_LARGEST_SIDE = 768

State = Literal["supervised", "ignored", "misaligned"]


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring tokens that are shown alike. Of kind "image" are a picture's slots; `text` says which picture."""

    kind: Literal["text", "special", "image"]
    state: State
    text: str
    tokens: int


def runs_of(example: Example, tokenizer: QwenTokenizer) -> list[Run]:
    """The ids of an example as runs, in order; a label that is neither -100 nor its id is "misaligned"."""
    if len(example.ids) != len(example.labels):
        raise ValueError(f"example {example.id}: {len(example.ids)} ids but {len(example.labels)} labels")
    slots = {slot.start: slot for slot in example.slots}
    runs: list[Run] = []
    pending: list[int] = []
    state: State = "ignored"
    at = 0

    def flush() -> None:
        if pending:
            runs.append(Run("text", state, tokenizer.decode(pending), len(pending)))
            pending.clear()

    while at < len(example.ids):
        slot = slots.get(at)
        if slot is not None:
            flush()
            name = slot.image.name or "picture"
            text = f"{name} {slot.image.width}×{slot.image.height}, {slot.length} slots"
            ignored = all(label == IGNORED for label in example.labels[at : at + slot.length])
            runs.append(Run("image", "ignored" if ignored else "misaligned", text, slot.length))
            at += slot.length
            continue
        number, label = example.ids[at], example.labels[at]
        new: State = "ignored" if label == IGNORED else "supervised" if label == number else "misaligned"
        if tokenizer.is_special(number):
            flush()
            runs.append(Run("special", new, tokenizer.token_text(number), 1))
        else:
            if new != state:
                flush()
            pending.append(number)
        state = new
        at += 1
    flush()
    return runs


def regions_of(example: Example, tokenizer: QwenTokenizer) -> list[list[Region]]:
    """For each picture the regions that the tokens place in it, in pixels.

    Tokens do not say which picture a box is in. It is taken to be in the last one before it (the first one, if none is
    before) or, in a dialogue, in the one that the words since the question's start named last ("in Picture 1").
    """
    texts = [""] * len(example.slots)
    current = last = 0
    first: int | None = None  # the number of the first picture, once one was shown with its number
    header = ""
    open_tags = 0
    user = tokenizer.encode("user\n")
    starts = {slot.start: index for index, slot in enumerate(example.slots)}
    at = 0
    for run in runs_of(example, tokenizer):
        if run.kind == "image":
            current = last = starts[at]
            number = _HEADER.search(header)
            first = int(number[1]) - last if number else None
        elif run.kind == "special":
            if run.text == "<|im_start|>":
                # An answer goes on with what its question named.
                following = example.ids[at + 1 : at + 1 + len(user)]
                current = last if following == user else current
            open_tags += _OPENING.get(run.text, 0)
            if texts:
                texts[current] += run.text
        elif texts:
            meant = picture_meant(run.text, last + 1, current, first) if first is not None and not open_tags else None
            current = current if meant is None else meant
            # A tag that is only spelt in ordinary letters is no tag.
            texts[current] += run.text.replace("<", "‹").replace("＜", "‹")
        header = run.text if run.kind == "text" else header if run.text == "<img>" else ""
        at += run.tokens
    return [
        to_regions(text, slot.image.width, slot.image.height, index)
        for index, (text, slot) in enumerate(zip(texts, example.slots, strict=True))
    ]


def to_terminal(example: Example, tokenizer: QwenTokenizer, color: bool = True) -> str:
    """The example for a terminal: supervised text blue, special tokens bold, pictures dim, wrong labels on red.

    Without `color` supervised text stands between ** and **. Control characters of the text are shown, not sent.
    """
    out = [_heading(example), "\n"]
    if not color:
        blue = False
        for run in runs_of(example, tokenizer):
            if (run.state == "supervised") != blue:
                out.append("**")
                blue = not blue
            text = printable(run.text)
            wrong = f"⚠[wrong label]{text}" if run.state == "misaligned" else text
            out.append(f"[{wrong}]" if run.kind == "image" else wrong)
        return "".join(out) + ("**" if blue else "") + "\n"
    for run in runs_of(example, tokenizer):
        codes = [{"supervised": "34", "ignored": "", "misaligned": "41"}[run.state]]
        codes.append({"special": "1", "image": "2", "text": ""}[run.kind])
        code = ";".join(c for c in codes if c)
        text = printable(run.text)
        if run.kind == "image":
            text = f"[{text}]"
        out.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
    return "".join(out) + "\n"


def _heading(example: Example) -> str:
    blue = sum(label != IGNORED for label in example.labels)
    where = " ".join(x for x in (example.source, example.id) if x)
    pictures = f"{len(example.slots)} picture" + ("s" if len(example.slots) != 1 else "")
    counts = f"{len(example.ids)} tokens, {blue} supervised · {pictures}"
    return f"── {example.task} · {printable(where) or '(no id)'} · {counts}"


def printable(text: str) -> str:
    """Text as a terminal may show it: line breaks as ⏎ and a break, other control characters as Unicode pictures."""
    out = []
    for c in text:
        if c == "\n":
            out.append("⏎\n")
        elif ord(c) < 0x20:
            out.append(chr(0x2400 + ord(c)))
        else:
            out.append("�" if 0x7F <= ord(c) < 0xA0 else c)
    return "".join(out)


_STYLE = """
:root{color-scheme:light}body{font:15px/1.55 system-ui,sans-serif;color:#000;background:#fff;max-width:76rem;margin:2rem
auto;padding:0 1rem} article{border:1px solid #ccc;border-radius:6px;margin:1rem 0;padding:.6rem
1rem}h2{font-size:.95rem;color:#555;margin:.2rem 0} p.tokens{white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem
0}.supervised{color:#0645d8}.special{font-family:monospace;font-size:.85em; border:1px solid
currentColor;border-radius:3px;padding:0 2px;margin:0 1px}.image{background:#eee;color:#555;border-radius:3px;padding:0
4px} .misaligned{background:#f33;color:#fff}figure{display:inline-block;margin:.3rem .6rem .3rem
0;vertical-align:top}figcaption{font-size:.8rem;color:#555}
img{max-width:100%}table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ccc;padding:.15rem
.6rem;text-align:left}td.n{text-align:right}
"""


def to_html(
    examples: Iterable[Example],
    tokenizer: QwenTokenizer,
    title: str = "What the model sees",
    counts: Mapping[str, int | float | str] | None = None,
) -> str:
    """One HTML page that stands alone: the examples with their pictures (as data URIs), a table per task, and `counts`.

    All text is escaped. A picture that cannot be decoded is said so in its place.
    """
    examples = list(examples)
    safe = html.escape(title)
    out = [
        f'<!doctype html><html><head><meta charset="utf-8"><title>{safe}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{safe}</h1>",
        '<p><span class="supervised">Blue</span> is supervised, black is not; <span class="special">framed</span> are ',
        "special tokens. Boxes are drawn from the tokens, each in the last picture before it ",
        "or, in a dialogue, in the one that is named.</p>",
        _task_table(examples),
    ]
    if counts:
        rows = "".join(
            f'<tr><td>{html.escape(str(name))}</td><td class="n">{html.escape(str(value))}</td></tr>'
            for name, value in counts.items()
        )
        out.append(f"<table>{rows}</table>")
    out += [article(example, tokenizer) for example in examples]
    return "".join(out) + "</body></html>\n"


def article(example: Example, tokenizer: QwenTokenizer) -> str:
    """The example's part of an HTML page: its pictures with what its tokens place in them, and its tokens.

    The page has to give the classes supervised, special, image and misaligned their looks.
    """
    out = [f"<article><h2>{html.escape(_heading(example).lstrip('─ '))}</h2>"]
    for slot, regions in zip(example.slots, regions_of(example, tokenizer), strict=True):
        out.append(_figure(slot.image, regions))
    out.append('<p class="tokens">')
    for run in runs_of(example, tokenizer):
        classes = " ".join(c for c in (run.kind, run.state) if c not in ("text", "ignored"))
        text = html.escape(printable(run.text))
        out.append(f'<span class="{classes}">{text}</span>' if classes else text)
    out.append("</p></article>\n")
    return "".join(out)


def _task_table(examples: Sequence[Example]) -> str:
    rows = []
    for task in dict.fromkeys(example.task for example in examples):
        these = [example for example in examples if example.task == task]
        tokens = sum(len(example.ids) for example in these)
        blue = sum(label != IGNORED for example in these for label in example.labels)
        pictures = sum(len(example.slots) for example in these)
        cells = "".join(f'<td class="n">{n}</td>' for n in (len(these), pictures, tokens, blue))
        rows.append(f"<tr><td>{html.escape(task)}</td>{cells}</tr>")
    return (
        "<table><tr><th>task</th><th>examples</th><th>pictures</th><th>tokens</th><th>supervised</th></tr>"
        + "".join(rows)
        + "</table>"
    )


def _figure(image: Image, regions: Sequence[Region]) -> str:
    """The picture with its regions, or why there is none."""
    label = html.escape(printable(f"{image.name or 'picture'} {image.width}×{image.height}, {len(regions)} regions"))
    try:
        picture = image.pil()
    except (OSError, ValueError) as error:
        reason = f'<span class="misaligned">cannot decode: {html.escape(str(error))}</span>'
        return f"<figure>{reason}<figcaption>{label}</figcaption></figure>"
    drawn = draw_regions(picture, regions, longest=_SHOWN_SIDE)
    drawn.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG" if max(picture.size) <= _SHOWN_SIDE else "JPEG", quality=88)
    kind = "png" if buffer.getvalue().startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<figure><img alt="" src="data:image/{kind};base64,{data}"><figcaption>{label}</figcaption></figure>'
