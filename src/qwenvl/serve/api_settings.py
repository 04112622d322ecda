"""What a server is made of and what it takes: the model that answers, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qwenvl.serve.requests import Engine
from qwenvl.text.tokenizer import QwenTokenizer


@dataclass(frozen=True, slots=True)
class Served:
    """A model that answers, by `name`. A picture takes `slots` tokens and is seen at `image_size` by `image_size`
    pixels.

    `vocabulary` is the number of scores that the model gives for each token (default: the tokenizer's ids); `kind`
    names the engine.
    """

    name: str
    tokenizer: QwenTokenizer
    slots: int
    image_size: int
    engine: Engine
    kind: str = "qwenvl"
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a server behaves. Sizes in bytes, times in seconds.

    `key` is asked of clients; `origins` may call from other pages (CORS); `hosts` are the names that a request may call
    the server by (none given: any), which keeps a foreign page from reaching a server on loopback under a name of its
    own. `fetch` gets pictures by address; without it only "data:" URIs are taken.
    """

    key: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    fetch: Callable[[str], bytes] | None = None
    page: bool = True

    max_body: int = 32 << 20
    max_bodies: int = 256 << 20
    """All bodies that are being read or answered together."""
    max_images: int = 16
    max_image_bytes: int = 16 << 20
    max_pixels: int = 40_000_000
    max_prompt_characters: int = 200_000
    max_tokens: int = 2048
    """Of one answer."""
    default_tokens: int = 512
    """Of an answer whose request says nothing."""
    max_choices: int = 8
    max_schema: int = 64 << 10
    max_requests: int = 512
    """At work or waiting, of any kind."""

    read_seconds: float = 30.0
    """For a whole body."""
    header_seconds: float = 10.0
    request_seconds: float = 300.0
    grace_seconds: float = 30.0
    """For what still runs when the server is told to stop."""

    decoders: int = 2
    """Pictures that are decoded at a time."""
    picture_memory: int = 64 << 20
    """Of decoded pictures that are kept for a second question."""
