"""The bodies of the API: what may be asked, field by field. Whatever is not named here is refused, not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Short = Annotated[str, StringConstraints(max_length=256)]
Words = Annotated[str, StringConstraints(max_length=1_000_000)]
Url = Annotated[str, StringConstraints(min_length=5)]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """A body, or a part of one, without other fields than its own."""

    model_config = ConfigDict(extra="forbid")


class TextPart(Strict):
    """Words; never read as markup or special tokens."""

    type: Literal["text"]
    text: Words


class PictureUrl(Strict):
    """A "data:" URI, or an address of a host that the server allows. `detail` is taken and changes nothing: the model
    sees every picture at one size.
    """

    url: Url
    detail: Literal["auto", "low", "high"] | None = None


class PicturePart(Strict):
    """A picture."""

    type: Literal["image_url"]
    image_url: PictureUrl


class RegionPart(Strict):
    """A place in pixels (after EXIF) of picture `image` of the conversation, from 0; by default the last one before it.

    It is written `<ref>phrase</ref><box>…</box>`. In a task prompt it may have a phrase alone.
    """

    type: Literal["region"]
    phrase: Words | None = None
    box: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    quad: Annotated[list[Point], Field(min_length=4, max_length=4)] | None = None
    image: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _placed(self) -> RegionPart:
        if self.box is not None and self.quad is not None:
            raise ValueError("a region has a box or a quad, not both")
        if self.box is None and self.quad is None and not self.phrase:
            raise ValueError("a region needs a box [x0, y0, x1, y1], a quad of four points, or a phrase")
        return self


Part = Annotated[TextPart | PicturePart | RegionPart, Field(discriminator="type")]


class UserMessage(Strict):
    """A question: a text, or parts."""

    role: Literal["user"]
    content: Words | Annotated[list[Part], Field(min_length=1, max_length=256)]


class SystemMessage(Strict):
    """The system's words; the first message alone."""

    role: Literal["system", "developer"]
    content: Words | Annotated[list[TextPart], Field(min_length=1, max_length=64)]


class AssistantMessage(Strict):
    """An answer of before, given back as its `content` was. `regions` and `text` may stand beside it and are not read:
    the content says the same.
    """

    role: Literal["assistant"]
    content: Words | Annotated[list[TextPart], Field(min_length=1, max_length=64)]
    regions: list[Any] | None = None
    text: Words | None = None
    refusal: None = None


Message = Annotated[UserMessage | SystemMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Strict):
    """`include_usage`: a last chunk with the counts."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class TextFormat(Strict):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Strict):
    """A JSON schema that the answer follows to the letter, `strict` or not."""

    name: Short = "answer"
    description: Words | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class JsonSchemaFormat(Strict):
    """JSON of a given schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


Format = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Sampling(Strict):
    """What both kinds of request share. `temperature` 0, the default, is greedy."""

    model: Short | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    response_format: Format | None = None
    user: Short | None = None
    # What clients send without meaning it: only the values that change nothing.
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @model_validator(mode="after")
    def _streamed(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=512)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _together(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise ValueError("max_tokens and max_completion_tokens differ; give one")
        return self


class CompletionRequest(Sampling):
    """`POST /v1/completions`: a prompt of the paper's forms, to be gone on with.

    `prompt` is a text or parts in reading order; pictures of `images` stand before it. With `task`, the prompt is put
    in that task's exact form: the question of "vqa", the phrase of "referring", the beginning of "text"; "caption",
    "grounding" and "ocr" need none, "grounded_caption" a `box`.
    """

    prompt: Words | Annotated[list[Part], Field(min_length=1, max_length=256)] = ""
    images: Annotated[list[Url], Field(max_length=64)] | None = None
    task: Literal["caption", "vqa", "grounding", "referring", "grounded_caption", "ocr", "text"] | None = None
    language: Literal["en", "zh"] = "en"
    box: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    echo: Literal[False] | None = None
    suffix: None = None
