"""Statements that only make sense in a session, and what to use in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FORMS_BY_USE = {
    "pgdbpool.transaction()": "BEGIN, START, COMMIT, END, ROLLBACK, ABORT, LOCK",
    "pgdbpool.transaction() inside another one, which is a savepoint": "SAVEPOINT, RELEASE, ROLLBACK TO",
    "the group's `settings`, SET LOCAL in pgdbpool.transaction(), or pgdbpool.Handler()": "SET, RESET",
    "the statement itself with parameters, or pgdbpool.Handler()": "PREPARE, EXECUTE, DEALLOCATE",
    "pgdbpool.connection()": "LISTEN, UNLISTEN, PREPARE TRANSACTION",
    "stream() of pgdbpool.Handler()": "DECLARE, FETCH, MOVE, CLOSE",
    "pgdbpool.transaction() with ON COMMIT DROP, or pgdbpool.Handler()": "CREATE TEMP, SELECT INTO TEMP",
    "pgdbpool.connection() and copy_expert()": "COPY FROM STDIN, COPY TO STDOUT",
    "nothing: the pool cleans each connection itself": "DISCARD",
    "the group's `on_connect`": "LOAD",
}
_USE = {form: use for use, forms in _FORMS_BY_USE.items() for form in forms.split(", ")}

# The forms that begin or end a transaction.
CONTROL = frozenset(["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE TRANSACTION"])

# What the first keyword alone does not tell.
_FORMS = {
    "PREPARE TRANSACTION": re.compile(r"PREPARE TRANSACTION\b"),
    "ROLLBACK TO": re.compile(r"ROLLBACK (WORK |TRANSACTION )?TO\b"),
    "COMMIT PREPARED": re.compile(r"(COMMIT|ROLLBACK) PREPARED\b"),
    "CREATE TEMP": re.compile(r'CREATE ((OR REPLACE )?((GLOBAL|LOCAL) )?TEMP(ORARY)?\b|(.* )?(PG_TEMP|"pg_temp") \.)'),
    "SELECT INTO TEMP": re.compile(
        r'SELECT INTO ((GLOBAL|LOCAL|UNLOGGED|TABLE) )*(TEMP(ORARY)?\b|PG_TEMP\b|"pg_temp")'
    ),
    "COPY FROM STDIN": re.compile(r"COPY .*\bFROM STDIN\b"),
    "COPY TO STDOUT": re.compile(r"COPY .*\bTO STDOUT\b"),
}


def form_of(head: Sequence[str]) -> str:
    """The form of a statement that begins with ``head``, such as ``CREATE TEMP``; else its first token.

    Its tokens outside parentheses: words in upper case, points, ``"pg_temp"``, and ``"`` for any other quoted name.
    """
    text = " ".join(head)
    return next((form for form, pattern in _FORMS.items() if pattern.match(text)), head[0] if head else "")


def instead(form: str) -> str | None:
    """The sentence for a statement of this form, if it only makes sense in a session."""
    return f"{form} only makes sense in a session: use {_USE[form]}" if form in _USE else None
