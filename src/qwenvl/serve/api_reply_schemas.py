"""The answers of the API as its OpenAPI description tells them, field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error."""

    error: ErrorDetail


class RegionOut(BaseModel):
    """A phrase and its places in pixels of picture `image` (from 0) as it was sent, after EXIF."""

    phrase: str | None
    image: int
    boxes: list[list[float]]
    quads: list[list[list[float]]]


class MessageOut(BaseModel):
    """An answer: `content` as generated, with markup; `text` its plain words; `regions` what it points at."""

    role: Literal["assistant"]
    content: str
    refusal: None = None
    text: str
    regions: list[RegionOut]


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: MessageOut
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class CompletionChoice(BaseModel):
    """One continuation: `text` as generated, `plain` its words."""

    index: int
    text: str
    plain: str
    regions: list[RegionOut]
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class PromptDetails(BaseModel):
    """Of the prompt's tokens: not computed anew, and taken by pictures."""

    cached_tokens: int
    image_tokens: int


class Usage(BaseModel):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Completion(BaseModel):
    """The whole answer to a prompt."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class ModelCard(BaseModel):
    """A model that answers here; `context` bounds prompt and answer together, in tokens."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context: int
    image_tokens: int


class ModelList(BaseModel):
    """The models that answer here: one."""

    object: Literal["list"]
    data: list[ModelCard]


class Status(BaseModel):
    """How the server is."""

    status: str
