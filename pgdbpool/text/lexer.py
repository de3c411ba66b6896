"""The words of a statement as PostgreSQL's scanner cuts them (manual, section 4.1), with psycopg2's placeholders in it.

Two readings of a text are possible, because psycopg2 replaces ``%s`` only where parameters are given. Where they would
differ in anything that matters, the token is ``broken``, as is a string or comment without its end.
``standard_conforming_strings`` is taken to be on, the server's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = r"A-Za-z_\x80-\U0010ffff"  # not \w: a no-break space is a letter to the server
_REST = _START + "0-9$"

# Line comments have no name: they are no token.
_TOKEN = re.compile(
    rf"""
      (?P<word>    (?! [eE]' ) [{_START}] [{_REST}]* )
    | (?P<string>  ' [^']* (?: '' [^']* )* '
                 | (?P<delimiter> \$ (?: [{_START}] [{_START}0-9]* )? \$ ) .*? (?P=delimiter) )
    | (?P<escaped> [eE]' [^'\\]* (?: (?: \\. | '' ) [^'\\]* )* ' )
    | (?P<quoted>  " [^"]* (?: "" [^"]* )* " )
    | (?P<param>   %s (?! [{_REST}] ) | %\( [\w.\ ]+ \)s (?! [{_REST}] ) )
    | --           [^\n\r]*
    | (?P<comment> /\* )
    | (?P<broken>  ' | [eE]' | " | \$ (?: [{_START}] [{_START}0-9]* )? \$ | %[s(] )
    | (?P<mark>    :: | [().,;] )
    | (?P<op>      [0-9]+ \.? | \$[0-9]+ | %% | [^\ \t\n\r\f\v] )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LOWER = {ord(a): ord(a) + 32 for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Each token, and the name that it stands for, if any; comments are left out.

    A word in upper case, ``"`` for a quoted name, one of the marks ``( ) . , ; ::``, or in lower case what it is:
    ``string``, ``escaped`` (a string with backslashes), ``param`` (a placeholder), ``broken``, ``op`` for the rest.
    """
    at = 0
    while match := _TOKEN.search(sql, at):
        at, kind, text = match.end(), match.lastgroup, match.group()
        if kind == "word":
            yield _word(text)
        elif kind == "quoted":
            yield '"', text[1:-1].replace('""', '"')
        elif kind == "comment":
            at = _after_comment(sql, at)
            if not at:
                yield "broken", ""
                return
        elif kind:
            yield text if kind == "mark" else kind, ""


def _word(word: str) -> tuple[str, str]:
    """Only ASCII letters are folded, as the server does in UTF-8."""
    return (word.upper(), word.lower()) if word.isascii() else (word, word.translate(_LOWER))


def _after_comment(sql: str, at: int) -> int:
    """Where the comment ends whose inside begins at ``at``, those nested in it included; 0: nowhere."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return 0
