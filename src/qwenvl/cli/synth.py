"""`qwenvl synth …`: the verbs that make pictures of text with the place of every line."""

from __future__ import annotations

from qwenvl.cli import synth_documents, synth_html, synth_pdf
from qwenvl.cli.options import Verbs, group

VERBS = (synth_documents, synth_pdf, synth_html)


def add(verbs: Verbs) -> None:
    """Register the group and its verbs."""
    within = group(verbs, "synth", "make pictures of text with the place of every line")
    for module in VERBS:
        module.add(within)
