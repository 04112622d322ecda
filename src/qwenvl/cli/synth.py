"""`qwenvl synth …`: the verbs that make pictures of text with the place of every line."""

from __future__ import annotations

from typing import Any

from qwenvl.cli.options import Verbs, group

VERBS: tuple[Any, ...] = ()


def add(verbs: Verbs) -> None:
    """Register the group and its verbs."""
    within = group(verbs, "synth", "make pictures of text with the place of every line")
    for module in VERBS:
        module.add(within)
