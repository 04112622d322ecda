"""Public datasets as people download them: `FORMAT:PATH?key=value&…`, one small file for each form.

A reader's first layer gives `Entry` from the annotation alone; the second opens the picture and gives a `Record`.
"""

from __future__ import annotations

from qwenvl.data.sources.public.entry import Entry, Question
from qwenvl.data.sources.public.registry import Format, Option, formats, is_public, open_public, read_entries

__all__ = ["Entry", "Format", "Option", "Question", "formats", "is_public", "open_public", "read_entries"]
