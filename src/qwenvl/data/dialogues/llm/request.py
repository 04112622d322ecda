"""What is sent to an endpoint, and the key under which its reply is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwenvl.data.dialogues.llm.cache import request_key
from qwenvl.data.dialogues.llm.settings import LanguageModel


def request_of(
    settings: LanguageModel, messages: Sequence[Mapping[str, str]], attempt: int
) -> tuple[dict[str, Any], str]:
    """The fields of `chat.completions.create` for some messages, and the key of the reply to this attempt."""
    request: dict[str, Any] = {
        "model": settings.model,
        "messages": list(messages),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }
    if settings.json_mode:
        request["response_format"] = {"type": "json_object"}
    return request, request_key({**request, "base_url": settings.base_url, "attempt": attempt})
