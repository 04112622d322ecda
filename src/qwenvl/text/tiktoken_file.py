"""A `.tiktoken` vocabulary (bytes and ranks) as the vocabulary and merges of a byte-level BPE."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

_LARGEST_FILE = 64 << 20
_LONGEST_TOKEN = 1024


def _characters() -> list[str]:
    """For each byte the printable character that stands for it in byte-level BPE files (the convention of GPT-2).

    Bytes that print as Latin-1 stand for themselves, the other 68 are U+0100 and on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


CHARACTER_OF_BYTE = _characters()
BYTE_OF_CHARACTER = {character: byte for byte, character in enumerate(CHARACTER_OF_BYTE)}


def read_tiktoken(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary (characters standing for bytes → id) and the merges in order of rank.

    Raises FileNotFoundError, or ValueError naming the line that is not what it must be: a token in base64 and its rank,
    counted from 0 without gaps.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary at {path}: expected the file qwen.tiktoken of a released checkpoint")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path}: more than {_LARGEST_FILE:,} bytes, which is no vocabulary")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            if int(rank) != len(ranks) or token in ranks or not 0 < len(token) <= _LONGEST_TOKEN:
                raise ValueError
        except (ValueError, binascii.Error):
            raise ValueError(
                f"{path}, line {number}: expected a new token in base64 and the rank {len(ranks)}, "
                f"found {line[:60]!r}; the file is cut short or damaged: copy it again"
            ) from None
        ranks[token] = len(ranks)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ValueError(
            f"{path}: ends after line {len(ranks)}, and byte {missing[0]:#04x} has no token; "
            "the file is cut short or damaged: copy it again"
        )
    vocabulary = {_spell(token): rank for token, rank in ranks.items()}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        halves = _halves(token, ranks)
        if halves is not None:
            merges.append((_spell(halves[0]), _spell(halves[1])))
    return vocabulary, merges


def _spell(token: bytes) -> str:
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The last merge that makes a token: BPE on its bytes with the older tokens alone leaves two pieces.

    None for a single byte, and for a token that merges do not reach (it then stands for whole pieces only).
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    own = ranks[token]
    while len(parts) > 2:
        best, place = own, -1
        for i in range(len(parts) - 1):
            rank = ranks.get(parts[i] + parts[i + 1], own)
            if rank < best:
                best, place = rank, i
        if place < 0:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None
