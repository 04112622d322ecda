"""A row with a conversation → `Record`: the reference repository's form, LLaVA's, and `messages` with roles.

* reference: `conversations` of `from`/`value`, pictures as `<img>path</img>` and places as `<ref>…</ref><box>…</box>`
in 0…999;
* LLaVA: `image` (a path or a list) and `<image>` where each stands, `from` human or gpt;
* messages: `role`/`content`, `images` and `<image>` marks, or `content` as a list of text and image items.
"""

from __future__ import annotations

from typing import Any

from qwenvl.data.sources.fields import Pictures, list_of, shown, text_of
from qwenvl.data.sources.report import RowError
from qwenvl.sample import Image, Part, Record, Text, Turn
from qwenvl.text.markup import image_names, parse_conversation_value

ROLES: dict[str, str] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
}
"""What people call who speaks."""

_MARK = "<image>"


def is_conversation(row: dict[str, Any]) -> bool:
    """Whether a row holds a conversation."""
    return "conversations" in row or "messages" in row


def record_from_row(row: dict[str, Any], pictures: Pictures, id: str, source: str) -> Record:
    """The record of one conversation. Raises RowError naming the turn and what is wrong with it."""
    name = "conversations" if "conversations" in row else "messages"
    said = [_said(item, f"{name}[{i}]") for i, item in enumerate(list_of(row, name))]
    if "system" in row and not (said and said[0][0] == "system"):
        said.insert(0, ("system", text_of(row, "system"), "system"))
    _check_order([role for role, _, _ in said], name)
    given = _given(row)
    marks = sum(text.count(_MARK) for _, text, _ in said if isinstance(text, str))
    if given and not marks and not any(image_names(t) for _, t, _ in said if isinstance(t, str)):
        said = _with_marks(said, len(given))
        marks = len(given)
    if marks != len(given):
        raise RowError(
            "image", f"{len(given)} pictures are given, but {_MARK} stands {marks} times in the conversation"
        )
    images: list[Image] = []
    turns: list[Turn] = []
    opened = iter(given)
    for role, content, where in said:
        first = len(images)
        if isinstance(content, list):
            turns.append(Turn(_role(role), tuple(_items(content, pictures, images, where))))
            continue
        content = _mark_first(content)
        for named in image_names(content):
            images.append(pictures.open(named, where) if named else pictures.open(*next(opened)))
        try:
            parts = parse_conversation_value(content, images, first)
        except ValueError as error:
            raise RowError(where, str(error)) from None
        if role == "system" and any(not isinstance(part, Text) for part in parts):
            raise RowError(where, "a system turn holds words only")
        turns.append(Turn(_role(role), parts))
    unique = tuple({id_: image for image in images for id_ in [image.key]}.values())
    return Record(id=id, source=source, images=unique, dialogues=(tuple(turns),))


def _role(name: str) -> Any:
    return name


def _said(item: Any, where: str) -> tuple[str, str | list[Any], str]:
    """Who speaks, what is said (text, or a list of items), and the name of the field."""
    if not isinstance(item, dict):
        raise RowError(where, f"expected an object, not {shown(item)}")
    named = item.get("from", item.get("role"))
    role = ROLES.get(named.lower()) if isinstance(named, str) else None
    if role is None:
        raise RowError(
            where, f"who speaks is {shown(named)}; expected from/role: user, assistant, human, gpt or system"
        )
    field = "value" if "value" in item else "content"
    where = f"{where}.{field}"
    content = item.get(field)
    if isinstance(content, list) and content:
        return role, content, where
    return role, text_of({field: content}, field, where[: -len(field)]), where


def _check_order(roles: list[str], name: str) -> None:
    talk = roles[1:] if roles and roles[0] == "system" else roles
    if not talk or talk[0] != "user":
        raise RowError(name, "begins without the user")
    for index, role in enumerate(talk):
        if role != ("user", "assistant")[index % 2]:
            raise RowError(
                f"{name}[{index + len(roles) - len(talk)}]", f"is the {role}'s; user and assistant must take turns"
            )
    if talk[-1] != "assistant":
        raise RowError(name, "ends without an answer")


def _given(row: dict[str, Any]) -> list[tuple[Any, str]]:
    """The pictures that a row names beside the conversation, each with its field."""
    field = "images" if "images" in row else "image"
    value = row.get(field)
    if value is None or value == []:
        return []
    if isinstance(value, list):
        return [(name, f"{field}[{i}]") for i, name in enumerate(value)]
    return [(value, field)]


def _with_marks(said: list[tuple[str, str | list[Any], str]], count: int) -> list[tuple[str, str | list[Any], str]]:
    """Pictures are given but stand nowhere: they belong before the first question."""
    found = list(said)
    for index, (role, content, where) in enumerate(found):
        if role == "user" and isinstance(content, str):
            found[index] = (role, f"{_MARK}\n" * count + content, where)
            break
    return found


def _mark_first(text: str) -> str:
    """LLaVA writes a picture before or after the question at random and trains on it as if before: so do we."""
    words = text.rstrip()
    if not words.endswith(_MARK) or words == _MARK:
        return text
    count = 0
    while words.endswith(_MARK):
        words, count = words[: -len(_MARK)].rstrip(), count + 1
    return f"{_MARK}\n" * count + words if words else text


def _items(content: list[Any], pictures: Pictures, images: list[Image], where: str) -> list[Part]:
    """The parts of a content given as items: {"type": "text", "text": …} and {"type": "image", "image": …}."""
    parts: list[Part] = []
    for index, item in enumerate(content):
        at = f"{where}[{index}]"
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "text":
            words = text_of({"text": item.get("text", item.get("value"))}, "text", at + ".")
            try:
                parts += parse_conversation_value(words, images, len(images))
            except ValueError as error:
                raise RowError(at, str(error)) from None
        elif kind in ("image", "image_url"):
            named = next((item[name] for name in ("image", "image_url", "url", "path", "value") if name in item), None)
            if isinstance(named, dict):
                named = named.get("url")
            images.append(pictures.open(named, at))
            parts.append(images[-1])
        else:
            raise RowError(at, f'expected an item of type "text" or "image", not {shown(item)}')
    return parts
