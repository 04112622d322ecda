"""Pairs from domains that a recipe's list names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from qwenvl.data.clean.rule import Drop, Rule, Value, Verdict
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError

_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@\\]*@)*([^/?#\\:@]+)", re.IGNORECASE)


@dataclass(frozen=True)
class BlockedDomains(Rule):
    """Removes pairs whose picture lies on one of `domains`, or on a host below one: img.a.com for a.com.

    `file` is a text file of more domains, one to a line, # for comments. The address is the first of `columns` that the
    metadata has; it is never opened. Names with other than ASCII letters are compared in their encoded form (xn--).
    Raises ConfigError for a file that can not be read and for what is no domain. Not in the paper.
    """

    name: ClassVar[str] = "blocked_domains"

    domains: tuple[str, ...] = ()
    file: str | None = None
    columns: tuple[str, ...] = ("url", "URL", "image_url")

    def __post_init__(self) -> None:
        # read where the recipe is read, so that a rule sent to another machine carries the list with it
        _ = self.blocked

    @cached_property
    def blocked(self) -> frozenset[str]:
        """All the domains, of the recipe and of the file."""
        lines = [*self.domains, *(_lines(self.file) if self.file else ())]
        return frozenset(_domain(line) for line in lines)

    def fingerprint(self) -> str:
        return hashlib.blake2b("\n".join(sorted(self.blocked)).encode(), digest_size=8).hexdigest()

    def measure(self, pair: Pair) -> Value:
        for column in self.columns:
            address = pair.meta.get(column)
            if isinstance(address, str):
                return self._match(address)
        return ""

    def decide(self, pair: Pair, value: Value) -> Verdict:
        return Drop("blocked domain") if value else None

    def _match(self, address: str) -> str:
        found = _HOST.match(address.strip()[:4096])
        host = _encoded(found[1]) if found else ""
        while host:
            if host in self.blocked:
                return host
            host = host.partition(".")[2]
        return ""


def _lines(file: str) -> list[str]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"blocked_domains.file: {file} can not be read ({error})") from error
    return [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]


def _domain(text: str) -> str:
    domain = _encoded(text.strip().removeprefix("*.").removeprefix("."))
    if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", domain):
        raise ConfigError(f"blocked_domains: {text[:80]!r} is no domain; expected a name such as example.com")
    return domain


def _encoded(host: str) -> str:
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
