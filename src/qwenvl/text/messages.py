"""Messages as `transformers` and chat APIs write them ({"role", "content"}) and tagged texts → turns and parts.

What people wrote stays words, whatever it spells; of what stood as the assistant's, well-formed `<ref>`, `<box>` and
`<quad>` are read. Control tokens and pictures never come out of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from qwenvl.sample import Image, Part, Region, Text, Turn
from qwenvl.text.markup import ImageSpan, RegionSpan, TextSpan, format_spans, parse, to_regions

_PICTURE_KEYS = ("image", "url", "path", "base64", "image_url")


def tagged_parts(text: str, images: Sequence[Image]) -> list[Part]:
    """A text with well-formed `<ref>`, `<box>`, `<quad>` as parts; any other text as words, to the letter.

    Places are in pixels of the last of `images`, from which they come out in the same cells. Raises ValueError for a
    place without a picture.
    """
    spans = parse(text)
    if format_spans(spans) != text or any(isinstance(span, ImageSpan) for span in spans):
        return [Text(text)] if text else []
    parts: list[Part] = []
    for span in spans:
        if isinstance(span, RegionSpan) and (span.boxes or span.quads):
            if not images:
                raise ValueError(f"A box or quad stands before any picture in {text[:80]!r}.")
            parts += to_regions(format_spans([span]), images[-1].width, images[-1].height, len(images) - 1)
        elif isinstance(span, RegionSpan):
            parts.append(Region(span.phrase))
        elif isinstance(span, TextSpan):
            parts.append(Text(span.text))
    return parts


def turns_of(
    messages: Sequence[Mapping[str, Any]],
    load: Callable[[Any], Image],
    images: Iterator[Image],
    sanitize: bool = True,
) -> list[Turn]:
    """The turns of messages whose `content` is a string or a list of {"type": "text"} and {"type": "image"} items.

    `load` makes an `Image` of what an item holds (under "image", "url", "path" or "base64"; {"type": "image_url"} of
    OpenAI's form is taken too); an item that holds nothing is the next of `images`. With `sanitize` false places are
    read in every role's words. Raises ValueError, naming the message and item, for what is neither.
    """
    turns: list[Turn] = []
    shown: list[Image] = []
    for number, message in enumerate(messages):
        where = f"message {number}"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f'{where}: expected {{"role": …, "content": …}}, not {str(message)[:80]}')
        content = message.get("content")
        items = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        parts: list[Part] = []
        for place, item in enumerate(items):
            kind = item.get("type") if isinstance(item, Mapping) else None
            if kind == "text" and isinstance(item.get("text"), str):
                read = bool(shown) and (message["role"] == "assistant" or not sanitize)
                parts += tagged_parts(item["text"], shown) if read else [Text(item["text"])]
            elif kind in ("image", "image_url"):
                shown.append(_picture(item, f"{where}, item {place}", load, images))
                parts.append(shown[-1])
            else:
                raise ValueError(
                    f'{where}, item {place}: expected {{"type": "text", "text": …}} or {{"type": "image"}}, '
                    f"not {str(item)[:80]}"
                )
        turns.append(Turn(message["role"], tuple(parts)))  # type: ignore[arg-type]
    return turns


def _picture(item: Mapping[str, Any], where: str, load: Callable[[Any], Image], images: Iterator[Image]) -> Image:
    held = next((item[key] for key in _PICTURE_KEYS if item.get(key) is not None), None)
    if isinstance(held, Mapping):
        held = held.get("url")
    if held is None:
        image = next(images, None)
        if image is None:
            raise ValueError(
                f"{where}: an image without content, and `images` holds no more; give as many as there are"
            )
        return image
    if "base64" in item and isinstance(held, str) and not held.startswith("data:"):
        held = f"data:image/unknown;base64,{held}"
    try:
        return load(held)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
