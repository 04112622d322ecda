"""Tokens as the Penn Treebank has them: a Python tokenizer close to Stanford's, which COCO's captions are scored with."""

from __future__ import annotations

import re

REMOVED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""COCO's list of marks that are no tokens. It has brackets too, as "-LRB-", but the tokens are lower-cased before:
brackets stay.
"""

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_APART = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "wanna": ("wan", "na"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
}
_ABBREVIATIONS = frozenset(
    "mr. mrs. ms. dr. prof. st. jr. sr. vs. etc. inc. ltd. co. corp. no. ft. mt. gen. col. lt. sgt. capt. gov. sen. rep. rev. "
    "jan. feb. mar. apr. jun. jul. aug. sep. sept. oct. nov. dec. ave. blvd. rd. fig. e.g. i.e. a.m. p.m.".split()
)
_TOKEN = re.compile(
    r"""
    https?://\S+ | www\.\S+
  | \.{2,} | -{2,} | '{2} | `{2}
  | (?:[a-z]\.){2,}[a-z]?(?![a-z])                      # u.s., d.v.d
  | (?<![\w'])[a-z]\.(?=\s+\S)                          # an initial: w. centre
  | \d+(?:[.,:/]\d+)*(?:[a-z]+)?(?:-\w[\w-]*)?           # 3.5, 1,000, 10:30, 1/2, 12th, 3-year-old
  | '(?:s|m|d|ll|re|ve)\b
  | '(?:em|til|cause|n|\d0s)\b
  | [^\W_]+(?:[-_&/@.'][^\W_]+)*                        # words, with hyphens and apostrophes inside
  | \S
    """,
    re.VERBOSE,
)
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": "``", "”": "''"})
_CLITIC = re.compile(r"(.+?)('s|'m|'d|'ll|'re|'ve|n't)")


def ptb_tokenize(text: str) -> list[str]:
    """Lower-cased tokens without punctuation, as COCO's evaluation scores captions.

    Stanford's tokenizer is a grammar of thousands of lines; this follows its rules for what captions hold: clitics apart
    ("isn't" → "is n't", "man's" → "man 's"), hyphens kept, numbers with their marks whole, abbreviations with their
    periods, brackets as "-lrb-". `qwenvl.evaluate.metrics.java.ptb_tokenize` is Stanford's own, where Java is.
    """
    folded = text.lower().translate(_QUOTES)
    tokens: list[str] = []
    for match in _TOKEN.finditer(folded):
        tokens += _parts(match[0], folded[match.end() :])
    return [token for token in tokens if token not in REMOVED and token.strip(".")]


def _parts(token: str, after: str) -> list[str]:
    if token in _BRACKETS:
        return [_BRACKETS[token]]
    if token == '"':
        return ["''"]
    if token in _APART:
        return list(_APART[token])
    if token + "." in _ABBREVIATIONS and after[:1] == "." and not after[1:2].isalnum():
        return [token + "."]
    clitic = _CLITIC.fullmatch(token)
    if clitic:
        return [*_parts(clitic[1], ""), clitic[2]]
    return [token]
