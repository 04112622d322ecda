"""Replies that were paid for, in an SQLite file: asked once, kept for ever, whatever becomes of the corpus."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, input INTEGER, output INTEGER, model TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uses (
  corpus TEXT, key TEXT, paid INTEGER NOT NULL, PRIMARY KEY (corpus, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
  corpus TEXT, why TEXT, times INTEGER NOT NULL, PRIMARY KEY (corpus, why)) WITHOUT ROWID;
"""


class CacheError(ValueError):
    """The file of replies can not be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote, why it ended ("stop", "length"), and the tokens it took, where the endpoint says."""

    text: str
    finish: str
    input: int | None
    output: int | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a corpus took: replies it paid for, replies others had paid for, and tokens of the paid ones."""

    paid: int
    from_cache: int
    input: int
    output: int
    failures: dict[str, int]


class Cache:
    """The replies; `corpus` tells whose uses are counted. Use it with `with`. Raises CacheError."""

    def __init__(self, path: Path, corpus: str) -> None:
        self._path, self._corpus = path, corpus
        try:
            self._base = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.executescript(_TABLES)
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def find(self, key: str) -> Reply | None:
        """The reply to a request, if it was given before."""
        try:
            row = self._base.execute("SELECT text, finish, input, output FROM replies WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._base.execute("INSERT OR IGNORE INTO uses VALUES (?, ?, 0)", (self._corpus, key))
        except sqlite3.Error as error:
            raise self._broken(error) from error
        return Reply(*row)

    def keep(self, key: str, reply: Reply, model: str) -> None:
        """Keep a reply that this corpus paid for; it is on the disk when this returns."""
        try:
            self._base.execute("BEGIN")
            values = (key, reply.text, reply.finish, reply.input, reply.output, model)
            self._base.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", values)
            self._base.execute("INSERT OR REPLACE INTO uses VALUES (?, ?, 1)", (self._corpus, key))
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def failed(self, why: str) -> None:
        """Count a request that gave no usable reply; what it cost is not known."""
        statement = "INSERT INTO failures VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1"
        try:
            self._base.execute(statement, (self._corpus, why))
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def spent(self) -> Spent:
        """What this corpus took so far."""
        try:
            counts = self._base.execute(
                "SELECT coalesce(sum(paid), 0), coalesce(sum(1 - paid), 0), coalesce(sum(paid * input), 0), "
                "coalesce(sum(paid * output), 0) FROM uses JOIN replies USING (key) WHERE corpus = ?",
                (self._corpus,),
            ).fetchone()
            failures = self._base.execute(
                "SELECT why, times FROM failures WHERE corpus = ? ORDER BY times DESC, why", (self._corpus,)
            ).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error
        paid, from_cache, taken, written = counts
        return Spent(paid, from_cache, taken, written, dict(failures))

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def _broken(self, error: sqlite3.Error) -> CacheError:
        return CacheError(f"{self._path}: the replies can not be kept there ({error}); mend it, or move it away")


def request_key(request: Mapping[str, Any]) -> str:
    """What two equal requests share."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
