"""WebDataset tars, as img2dataset writes them: members that share a name up to its first dot are a pair."""

from __future__ import annotations

from collections.abc import Iterator

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs.files import open_file, size_of
from qwenvl.data.sources.pairs.tar_walk import Damage, Member, TarWalk
from qwenvl.data.sources.pairs.unit import (
    MAX_PICTURE,
    MAX_WORDS,
    BadPair,
    Columns,
    Found,
    Ids,
    Unit,
    judged,
)
from qwenvl.data.sources.pairs.words import WordsError, json_object, take, text, with_url

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
_LIMITS = {**dict.fromkeys(_PICTURES, MAX_PICTURE), "txt": MAX_WORDS, "json": MAX_WORDS}
_SHOWN = 5


class _Group:
    """The members of one pair, by ending. `suspect`: something may have been lost before its first."""

    __slots__ = ("key", "names", "parts", "suspect", "trouble")

    def __init__(self, key: str, suspect: bool) -> None:
        self.key, self.suspect = key, suspect
        self.names: dict[str, str] = {}
        self.parts: dict[str, bytes] = {}
        self.trouble: tuple[str, str] | None = None


def read_tar(unit: Unit, columns: Columns) -> Iterator[Pair | BadPair]:
    """The pairs in the archive's order. What is damaged or cut off is told once, with the bytes; what is whole comes.

    A pair's members stand one after another; the same ending again begins another pair. Names without an ending and
    hidden ones are no members; other endings are not read. A pair next to damage is lost unless it has all the members
    that the one before it had.
    """
    ids = Ids(unit)
    with open_file(unit.path) as file:
        walk = TarWalk(file, size_of(file))
        group: _Group | None = None
        usual: set[str] = set()
        suspect = False
        for member in walk:
            if isinstance(member, Damage):
                if group is not None:
                    cut_next = bool(member.member) and _split(member.member)[0] != group.key
                    yield _pair(group, columns, ids, set(group.names) if cut_next and not group.suspect else usual)
                yield ids.bad("(rest)" if member.ends else "(damage)", member.why, member.detail)
                group, suspect = None, True
                continue
            key, ending = _split(member.name)
            if not ending:
                continue
            if group is None or key != group.key or ending in group.names:
                if group is not None:
                    yield _pair(group, columns, ids, usual if group.suspect else None)
                    usual = usual if group.suspect else set(group.names)
                group, suspect = _Group(key, suspect), False
            _take(group, ending, member, walk)
        if group is not None:
            yield _pair(group, columns, ids, usual if group.suspect else None)


def _take(group: _Group, ending: str, member: Member, walk: TarWalk) -> None:
    """Read a member into its group, or note what is wrong with it."""
    limit = _LIMITS.get(ending)
    if limit is None:
        pass
    elif member.trouble:
        group.trouble = ("no plain file", f"{member.name[:100]} is {member.trouble}")
    elif member.size > limit:
        what = "picture too large" if limit == MAX_PICTURE else "words too long"
        group.trouble = (what, f"{member.name[:100]}: {member.size:,} bytes, more than {limit:,}")
    else:
        content = walk.read()
        if content is None:  # the walk tells of the cut next
            return
        group.parts[ending] = content
    group.names[ending] = member.name


def _split(name: str) -> tuple[str, str]:
    """Key and ending, apart at the first dot as WebDataset has it; no ending for what is no member."""
    slash = name.rfind("/") + 1
    dot = name.find(".", slash)
    if dot <= slash:
        return name, ""
    return name[:dot].removeprefix("./"), name[dot + 1 :].lower()


def _pair(group: _Group, columns: Columns, ids: Ids, needed: set[str] | None) -> Pair | BadPair:
    """The pair of a group that is complete; `needed` are the endings it should have, next to damage."""
    parts = group.parts
    if needed is not None and group.trouble is None and (not needed or needed - group.names.keys()):
        lost = ", ".join(sorted(needed - group.names.keys())) or "some"
        return ids.bad(group.key, "damaged pair", f"cut off or damaged around it; of its members may be lost: {lost}")
    ending = next((ending for ending in _PICTURES if ending in parts), None)
    if group.trouble is None and ending is None:
        return ids.bad(group.key, "no picture", _without_picture(group))
    meta = {}
    caption = None
    trouble = group.trouble
    if trouble is None:
        try:
            meta = json_object(parts["json"]) if "json" in parts else {}
            caption = take(meta, "caption", columns.caption)
            if "txt" in parts and not (columns.caption and caption is not None):
                caption = text(parts["txt"])
        except WordsError as error:
            trouble = (error.why, str(error))
    name = group.names.get(ending or "", "").rpartition("/")[2]
    key = str(meta[columns.key]) if columns.key and columns.key in meta else group.key
    image = parts[ending] if ending else None
    return judged(Found(key, image, caption, name, with_url(meta, columns.url), trouble), ids)


def _without_picture(group: _Group) -> str:
    names = ", ".join(name[:60] for name in list(group.names.values())[:_SHOWN])
    return f"only {names}; the members of a pair stand together and end in .{', .'.join(_PICTURES[:4])}, …"
