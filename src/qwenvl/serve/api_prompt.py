"""Requests → what the model is shown, through the one renderer: conversations, and prompts of the paper's tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec

from qwenvl.sample import Box, Image, Part, Quad, Region, Sample, Text, Turn
from qwenvl.serve import api_schemas as asked
from qwenvl.serve.api_errors import ApiError
from qwenvl.serve.api_pictures import Pictures
from qwenvl.serve.api_settings import Served, ServeSettings
from qwenvl.serve.chat import answer_parts, chat_example, pictures_of, words_of
from qwenvl.tasks import caption, grounded_caption, grounding, ocr, referring, text, vqa
from qwenvl.text.render import Example, render

P = ParamSpec("P")
_LONG = 10_000

POINTED = "This"
"""The phrase of a region that has none, as in the paper's grounded captions."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is shown, and what its answer's boxes are told by: the question's words and the pictures.

    `phrase` is one whose place is asked for: the answer begins with the place alone.
    """

    example: Example
    question: str
    images: tuple[Image, ...]
    phrase: str | None = None

    @property
    def image_tokens(self) -> int:
        """The tokens that pictures take."""
        return sum(slot.length for slot in self.example.slots)


class Prompts:
    """Makes prompts for one served model."""

    def __init__(self, served: Served, settings: ServeSettings, pictures: Pictures) -> None:
        self._served, self._settings, self._pictures = served, settings, pictures

    async def chat(self, request: asked.ChatRequest) -> Prompt:
        """A conversation. Raises ApiError naming the message for what it can not hold."""
        messages = request.messages
        if not isinstance(messages[-1], asked.UserMessage):
            raise ApiError(400, "messages: the last one must be the user's", "messages", "invalid_value")
        size = self._begun([message.content for message in messages], 0)
        turns: list[Turn] = []
        images: list[Image] = []
        for number, message in enumerate(messages):
            where = f"messages[{number}]"
            if isinstance(message, asked.SystemMessage):
                if number:
                    raise ApiError(400, f"{where}: a system message can only be the first", where, "invalid_value")
                turns.append(Turn("system", (Text(_words(message.content)),)))
            elif isinstance(message, asked.AssistantMessage):
                # what the server said comes back as it said it: the same parts as in a conversation that it kept
                question = words_of(turns[-1]) if turns else ""
                turns.append(Turn("assistant", answer_parts(_words(message.content), question, images)))
            else:
                turns.append(Turn("user", await self._parts(message.content, f"{where}.content", images)))
        try:
            example = await _apart(size, chat_example, turns, self._served.tokenizer, self._served.slots)
        except ValueError as error:
            raise ApiError(400, str(error), "messages", "invalid_value") from None
        return self._checked(Prompt(example, words_of(turns[-1]), pictures_of(turns)), "messages")

    async def completion(self, request: asked.CompletionRequest) -> Prompt:
        """A prompt to go on with, in the exact form of a task where one is named."""
        urls = request.images or []
        size = self._begun([request.prompt], len(urls))
        images = [await self._pictures.get(url, f"images[{number}]") for number, url in enumerate(urls)]
        try:
            if request.task is not None:
                sample = _task(request, images)
            else:
                if request.box is not None:
                    raise ApiError(400, "box: only the task grounded_caption takes one", "box", "invalid_value")
                shown = list(images)
                parts = await self._parts(request.prompt, "prompt", shown, bare=True)
                sample = Sample((*images, *parts), "vqa" if shown else "text")
                if not any(isinstance(part, Image) or getattr(part, "text", "x") for part in sample.parts):
                    raise ApiError(400, "prompt: there is nothing to go on with", "prompt", "missing_field")
            example = await _apart(size, render, sample, self._served.tokenizer, self._served.slots)
        except ValueError as error:
            raise ApiError(400, str(error), "prompt", "invalid_value") from None
        last = sample.parts[-1]
        phrase = last.phrase if isinstance(last, Region) and not (last.boxes or last.quads) else None
        words = words_of(Turn("user", sample.parts))
        return self._checked(Prompt(example, words, sample.images, phrase), "prompt")

    def _begun(self, contents: Sequence[str | Sequence[asked.Part]], images: int) -> int:
        """Refuse what is too much before anything of it is decoded; gives the number of characters."""
        parts = [part for content in contents if not isinstance(content, str) for part in content]
        images += sum(isinstance(part, asked.PicturePart) for part in parts)
        if images > self._settings.max_images:
            raise ApiError(
                413, f"{images} pictures are more than {self._settings.max_images} a request", code="too_many_images"
            )
        characters = sum(len(content) for content in contents if isinstance(content, str))
        characters += sum(len(part.text) for part in parts if isinstance(part, asked.TextPart))
        characters += sum(len(part.phrase or "") for part in parts if isinstance(part, asked.RegionPart))
        if characters > self._settings.max_prompt_characters:
            most = self._settings.max_prompt_characters
            raise ApiError(413, f"{characters:,} characters are more than {most:,} a request", code="prompt_too_long")
        return characters

    async def _parts(
        self, content: str | Sequence[asked.Part], where: str, images: list[Image], bare: bool = False
    ) -> tuple[Part, ...]:
        """The parts of a user's content; its pictures join `images`, those of the whole request up to here.

        In a `bare` prompt a region may have a phrase alone.
        """
        if isinstance(content, str):
            return (Text(content),)
        parts: list[Part] = []
        for number, item in enumerate(content):
            if isinstance(item, asked.TextPart):
                parts.append(Text(item.text))
            elif isinstance(item, asked.PicturePart):
                images.append(await self._pictures.get(item.image_url.url, f"{where}[{number}].image_url.url"))
                parts.append(images[-1])
            else:
                parts.append(_region(item, f"{where}[{number}]", len(images), bare))
        return tuple(parts)

    def _checked(self, prompt: Prompt, param: str) -> Prompt:
        room = self._served.engine.limits.context - len(prompt.example.ids)
        if room < 1:
            raise ApiError(
                400,
                f"the prompt takes {len(prompt.example.ids)} tokens ({prompt.image_tokens} of them pictures); with its "
                f"answer it must stay within {self._served.engine.limits.context}: say less or show fewer pictures",
                param,
                "context_length_exceeded",
            )
        return prompt


async def _apart(size: int, render: Callable[P, Example], *arguments: P.args, **named: P.kwargs) -> Example:
    """Render; what is long, off the event loop: the tokenizer takes a while and lets others run."""
    return await asyncio.to_thread(render, *arguments, **named) if size > _LONG else render(*arguments, **named)


def _words(content: str | Sequence[asked.TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _region(item: asked.RegionPart, where: str, shown: int, bare: bool) -> Region:
    if item.box is None and item.quad is None:
        if not bare:
            raise ApiError(400, f"{where}: a region needs a box or a quad", where, "invalid_value")
        return Region(item.phrase)
    image = shown - 1 if item.image is None else item.image
    if not 0 <= image < shown:
        raise ApiError(
            400,
            f"{where}: the region is in picture {max(image, 0)} (counted from 0), but {shown} were sent before it",
            where,
            "invalid_value",
        )
    boxes = (Box(*item.box),) if item.box is not None else ()
    quads = (Quad(tuple((x, y) for x, y in item.quad)),) if item.quad is not None else ()  # type: ignore[arg-type]
    return Region(item.phrase or POINTED, boxes, quads, image)


def _task(request: asked.CompletionRequest, images: Sequence[Image]) -> Sample:
    """The unanswered sample of a task. Raises ApiError where the request lacks what the task is about."""
    if not isinstance(request.prompt, str):
        raise ApiError(400, "prompt: with a task it is a text; pictures stand in images", "prompt", "invalid_value")
    needs = {"vqa": "the question", "referring": "the phrase", "text": "the beginning"}
    words, task, language = request.prompt, request.task, request.language
    if (task in needs) != bool(words):
        what = f"is {needs[task]}, and missing" if task in needs else "must be empty"  # type: ignore[index]
        raise ApiError(400, f"prompt: for the task {task} it {what}", "prompt", "invalid_value")
    if (task == "grounded_caption") != (request.box is not None):
        raise ApiError(400, "box: grounded_caption needs one, and no other task takes one", "box", "invalid_value")
    wanted = 0 if task == "text" else 1
    if len(images) != wanted:
        raise ApiError(400, f"images: the task {task} takes {wanted}, not {len(images)}", "images", "invalid_value")
    if task == "text":
        return text.prompt(words)
    image = images[0]
    if task == "vqa":
        return vqa.prompt(image, words, language)
    if task == "referring":
        return referring.prompt(image, words)
    if task == "grounded_caption":
        return grounded_caption.prompt(image, Box(*(request.box or ())), language)  # type: ignore[arg-type]
    return {"caption": caption, "grounding": grounding, "ocr": ocr}[task].prompt(image, language)  # type: ignore
