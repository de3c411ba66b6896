"""The words of a statement as PostgreSQL's scanner cuts them (manual, section 4.1), with psycopg2's placeholders in it.

Two readings of a text are possible, because psycopg2 replaces ``%s`` only where parameters are given. Where they would
differ in anything that matters, the token is ``broken``, as is a string or comment without its end.
``standard_conforming_strings`` is taken to be on, the server's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["tokens"]

_START = r"A-Za-z_\x80-\U0010ffff"  # not \w: a no-break space is a letter to the server
_REST = _START + "0-9$"

_TOKEN = re.compile(
    rf"""
      (?P<word>    (?! [eE]' ) [{_START}] [{_REST}]* )
    | (?P<string>  ' [^']* (?: '' [^']* )* '
                 | [eE]' [^'\\]* (?: (?: \\. | '' ) [^'\\]* )* '
                 | (?P<delimiter> \$ (?: [{_START}] [{_START}0-9]* )? \$ ) .*? (?P=delimiter) )
    | (?P<quoted>  " [^"]* (?: "" [^"]* )* " )
    | (?P<param>   %s (?! [{_REST}] ) | %\( [\w.\ ]+ \)s (?! [{_REST}] ) )
    | (?P<line>    -- [^\n\r]* )
    | (?P<block>   /\* )
    | (?P<broken>  ' | [eE]' | " | \$ (?: [{_START}] [{_START}0-9]* )? \$ | %[s(] )
    | (?P<number>  [0-9]+ \.? | \$[0-9]+ )
    | (?P<mark>    :: | %% | [^\ \t\n\r\f\v] )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_MARKS = frozenset("( ) . , ; ::".split())
_TOKENS = {"param": "%", "broken": "broken", "number": "op"}
_LOWER = {ord(a): ord(a) + 32 for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Each token, and the name that it stands for, if any; comments are left out.

    A word in upper case, ``"`` for a quoted name, ``'`` or ``e'`` for a string, ``%`` for a placeholder, one of the marks
    ``( ) . , ; ::``, ``op`` for the rest, and ``broken``.
    """
    at: int | None = 0
    while at is not None:
        start, at = at, None
        for match in _TOKEN.finditer(sql, start):
            kind = match.lastgroup
            if kind == "block":
                at = _after_comment(sql, match.end())
                break
            if kind == "word":
                yield _word(match.group())
            elif kind == "quoted":
                yield '"', match.group()[1:-1].replace('""', '"')
            elif kind == "string":
                yield ("e'" if match.group()[0] in "eE" else "'"), ""
            elif kind != "line":
                yield _TOKENS.get(kind or "") or (match.group() if match.group() in _MARKS else "op"), ""
        if at == -1:
            yield "broken", ""
            return


def _word(word: str) -> tuple[str, str]:
    """Only ASCII letters are folded, as the server does in UTF-8."""
    return (word.upper(), word.lower()) if word.isascii() else (word, word.translate(_LOWER))


def _after_comment(sql: str, at: int) -> int:
    """Where the comment ends whose inside begins at ``at``, those nested in it included; -1: nowhere."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return -1
