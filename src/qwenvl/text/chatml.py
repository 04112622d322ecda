"""Conversations as ChatML: turns → `Sample`, the Jinja template for `transformers`, and the window over a long history.

The form and its mask are those of the released chat model and its fine-tuning (paper section 3.3, "ChatML"):
`<|im_start|>role⏎ … <|im_end|>⏎`, supervised are the assistant's words, the control tokens and the line break after
`<|im_end|>`; role names, the system's and the user's words are not. Pictures are numbered `Picture 1: <img>…</img>⏎`
through the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from qwenvl.sample import Image, Part, Region, Sample, Special, Text, Turn

DEFAULT_SYSTEM = "You are a helpful assistant."
REPLY_HEADER = "assistant\n"
"""What stands between `<|im_start|>` and the assistant's first word."""

_ROLES = ("system", "user", "assistant")
_NAMED = re.compile(r"(?:picture|image|图片?)\s*(\d{1,3})", re.IGNORECASE)

CHAT_TEMPLATE = (
    "{%- set pictures = namespace(count=0) -%}"
    "{%- if not messages or messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\\n" + DEFAULT_SYSTEM + "<|im_end|>\\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string -%}"
    "{{ message['content'] }}"
    "{%- else -%}"
    "{%- for item in message['content'] -%}"
    "{%- if item['type'] in ('image', 'image_url') -%}"
    "{%- set pictures.count = pictures.count + 1 -%}"
    "{{ 'Picture ' ~ pictures.count ~ ': <img></img>\\n' }}"
    "{%- elif item['type'] == 'text' -%}"
    "{{ item['text'] }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
"""The same form for `tokenizer.apply_chat_template`; a picture is an empty `<img></img>`, which a processor fills."""


def dialogue_sample(
    turns: Sequence[Turn],
    system: str = DEFAULT_SYSTEM,
    source: str = "",
    id: str = "",
    reply: bool = False,
    first_picture: int | None = 1,
) -> Sample:
    """A conversation as a `Sample` of task "dialogue"; the supervision of the turns' parts is set here, from the roles.

    A first turn of role "system" takes the place of `system`. `Region.image` counts the pictures of the whole
    conversation from 0. `first_picture` is the number written before the first picture (more than 1 where earlier ones
    fell out of the window); None writes pictures bare, without number and line break, as the reference's evaluation of
    MME does. With `reply` the sample ends where the assistant is to speak: a prompt for generation.
    Raises ValueError, naming the conversation, for an unknown role, a later system turn or a control token among the
    parts.
    """
    where = f"conversation {id or source or '(no id)'}"
    head: tuple[Part, ...] = (Text(system),)
    if turns and turns[0].role == "system":
        head, turns = turns[0].parts, turns[1:]
    parts: list[Part] = []
    picture = first_picture
    for number, turn in enumerate((Turn("system", head), *turns)):
        if turn.role not in _ROLES or (number and turn.role == "system"):
            raise ValueError(
                f"{where}: turn {number} has role {turn.role!r}; expected user or assistant (system only first)"
            )
        parts += (Special("<|im_start|>", True), Text(f"{turn.role}\n"))
        content, picture = _content(turn, picture, where)
        parts += content
        parts += (Special("<|im_end|>", True), Text("\n", True))
    if reply:
        parts += (Special("<|im_start|>", True), Text(REPLY_HEADER))
    return Sample(tuple(parts), "dialogue", source, id)


def _content(turn: Turn, picture: int | None, where: str) -> tuple[list[Part], int | None]:
    """The parts of a turn as they are written, and the number of the next picture; None where they have none."""
    blue = turn.role == "assistant"
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Image):
            if picture is None:
                parts.append(part)
            else:
                parts += (Text(f"Picture {picture}: ", blue), part, Text("\n", blue))
                picture += 1
        elif isinstance(part, Text):
            parts.append(Text(part.text, blue))
        elif isinstance(part, Region):
            parts.append(replace(part, phrase_supervised=blue, supervised=blue))
        else:
            raise ValueError(f"{where}: a turn holds the control token {part.token}; only the renderer writes those")
    return _joined(parts), picture


def _joined(parts: Iterable[Part]) -> list[Part]:
    """Neighbouring texts of a turn as one, because the reference encodes what stands between two tags at once."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text) and isinstance(last, Text):
            joined[-1] = Text(last.text + part.text, last.supervised)
        elif not isinstance(part, Text) or part.text:
            joined.append(part)
    return joined


def picture_meant(words: str, count: int, otherwise: int | None = None, first: int = 1) -> int | None:
    """The picture (from 0, among the `count` shown so far) that a place behind `words` is in.

    Tokens do not say which picture a box is in. It is the one that the words name last, if there is such a picture;
    else `otherwise`, what earlier words meant; else, at the start of a question, the one shown last. None without
    pictures. `first` is the number that the first of them bears (not 1 where earlier ones fell out of the window).
    """
    if not count:
        return None
    named = [int(number) - first for number in _NAMED.findall(words)]
    meant = next((index for index in reversed(named) if 0 <= index < count), otherwise)
    return count - 1 if meant is None else meant


def window(turns: Sequence[Turn], max_tokens: int, count: Callable[[Sequence[Turn]], int]) -> tuple[Turn, ...]:
    """The conversation without its oldest exchanges: the system's words and the history take at most `max_tokens`.

    An exchange is a user's turn and what follows it. As with the reference's `max_window_size`, the last one (the
    question at hand) always stays and is not counted, so leave room for it. `count` gives the tokens of some turns:
    `len(render(dialogue_sample(t), …).ids)`. Where a picture falls out, `Region.image` of the rest is counted anew, and
    of a region in a lost picture only the phrase stays.
    """
    head = [turn for turn in turns[:1] if turn.role == "system"]
    exchanges: list[list[Turn]] = []
    for turn in turns[len(head) :]:
        if turn.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(turn)
    first = max(len(exchanges) - 1, 0)
    while first > 0:
        dropped = [turn for exchange in exchanges[: first - 1] for turn in exchange]
        history = [turn for exchange in exchanges[first - 1 : -1] for turn in exchange]
        if count(_without(head, dropped, history)) > max_tokens:
            break
        first -= 1
    dropped = [turn for exchange in exchanges[:first] for turn in exchange]
    return _without(head, dropped, [turn for exchange in exchanges[first:] for turn in exchange])


def _without(head: Sequence[Turn], dropped: Sequence[Turn], kept: Sequence[Turn]) -> tuple[Turn, ...]:
    """`head` and `kept`, their regions counted as if the pictures of `dropped`, which stood between, had never been."""
    if not any(isinstance(part, Image) for turn in dropped for part in turn.parts):
        return (*head, *kept)
    before, gone = _pictures(head), _pictures(dropped)
    turns = []
    for turn in (*head, *kept):
        parts: list[Part] = []
        for part in turn.parts:
            if not isinstance(part, Region) or part.image < before:
                parts.append(part)
            elif part.image >= before + gone:
                parts.append(replace(part, image=part.image - gone))
            elif part.phrase:
                parts.append(Text(part.phrase))
        turns.append(Turn(turn.role, tuple(parts)))
    return tuple(turns)


def _pictures(turns: Sequence[Turn]) -> int:
    return sum(isinstance(part, Image) for turn in turns for part in turn.parts)
