"""What decides how a language model is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from qwenvl.typed import ConfigError

Form = Literal["conversation", "description", "reasoning"]
"""What is asked for: short questions and answers, one detailed description, or a question that needs thought."""


@dataclass(frozen=True)
class Price:
    """What an endpoint takes for a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0


@dataclass(frozen=True)
class LanguageModel:
    """An OpenAI-compatible endpoint (of `qwenvl serve` too) and how it is asked.

    The key is read from the environment variable `key_env` when the run begins, and kept nowhere; where the variable is
    not set the endpoint is asked without one. `forms` gives each form's weight. `language` "same" asks for the language
    of the picture's annotations.

    A request without a usable reply (time-out, lost connection, HTTP 408, 409, 429 or 5xx, no JSON) is sent again up to
    `retries` times, after waits that double from `wait` seconds to a minute or as the server says. An answer that fails
    the checks is asked for `attempts` times in all. `give_up` pictures in a row without any reply end the run.
    `timeout` (seconds) is for a whole reply. `places` "given" takes only boxes and quads that the annotations have,
    "inside" any in the picture. The run ends before the cost by `price` goes beyond `max_cost`.
    `cache` is a file that several corpora may share (default: in the corpus's folder).
    """

    base_url: str
    model: str
    key_env: str = "OPENAI_API_KEY"
    weight: float = 1.0
    forms: dict[Form, float] = field(default_factory=lambda: {"conversation": 1.0})
    turns: tuple[int, int] = (2, 5)
    language: Literal["same", "en", "zh"] = "same"
    places: Literal["given", "inside"] = "given"
    temperature: float = 0.7
    max_tokens: int = 1024
    json_mode: bool = False
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 5
    wait: float = 1.0
    attempts: int = 2
    give_up: int = 10
    price: Price = field(default_factory=Price)
    max_cost: float | None = None
    cache: str | None = None

    def check(self, where: str) -> None:
        """Raise ConfigError for what can't work."""
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"{where}.base_url: expected an address such as http://localhost:8000/v1")
        if address.username or address.password or address.query:
            raise ConfigError(
                f"{where}.base_url: holds a name, password or query, which would be written into the corpus; put the "
                "key into an environment variable and name it with 'key_env'"
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            raise ConfigError(f"{where}.key_env: expected the name of an environment variable, not the key itself")
        if not self.forms or min(self.forms.values()) <= 0:
            raise ConfigError(f"{where}.forms: expected a weight of more than 0 for each form")
        least = {"max_tokens": 1, "concurrency": 1, "retries": 0, "attempts": 1, "give_up": 1, "wait": 0, "timeout": 0}
        for key, low in least.items():
            if getattr(self, key) < low or (key == "timeout" and not self.timeout > 0):
                raise ConfigError(f"{where}.{key}: expected {low or 'more than 0'} or more, found {getattr(self, key)}")
        if min(self.price.input, self.price.output) < 0:
            raise ConfigError(f"{where}.price: expected 0 or more")
        if self.max_cost is not None and not (self.price.input or self.price.output):
            raise ConfigError(f"{where}.max_cost: needs 'price', or nothing would ever cost anything")
