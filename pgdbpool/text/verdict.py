"""What the pool must know of a text before it runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from .reader import read
from .renaming import renames
from .session import CONTROL, form_of, instead

_CACHED_CHARACTERS = 8_192
_READ_CHARACTERS = 16_384
_UNICODE = re.compile(r"[uU]&[\"']")  # a name by other letters


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a text; wherever there is a doubt, it is neither ``clean`` nor ``reads``.

    ``keyword``: the first keyword of the first statement in upper case, ``""`` where there is none.
    ``clean``: it leaves nothing behind in the session. ``reads``: it changes nothing and locks no row.
    ``session``: it only makes sense in a session; the sentence that says what to use instead, or None.
    ``controls_transaction``: a statement of it begins or ends a transaction (a savepoint does not).
    ``joinable``: all of it may share one simple-Query message with a BEGIN or SET in front.
    ``functions``: what it calls beyond the known functions; the name as the server folds it, ``schema.name`` if
    qualified. ``single``: it is one statement. ``on_standby``: it is queries that change nothing and lock no row, which may
    call ``functions``; ``names`` are all the names in it, on which depends whether it may run on a standby.
    ``renames``: it changes what names stand for; None: perhaps.

    Beyond a text's reach: views, triggers, casts and operators made by the user; a user's overload of a built-in
    function's name; placeholders inside quotes; and parameters that are SQL themselves (``psycopg2.extensions.AsIs``).
    """

    keyword: str
    clean: bool
    reads: bool
    session: str | None
    controls_transaction: bool
    joinable: bool
    functions: frozenset[str]
    single: bool
    on_standby: bool
    names: frozenset[str]
    renames: bool | None


def doubtful(verdict: Verdict) -> Verdict:
    """The same of a text whose parameters may be SQL themselves."""
    return replace(verdict, clean=False, reads=False, on_standby=False)


def look(sql: str) -> Verdict:
    """The verdict on ``sql``, which may hold placeholders. ValueError if it holds a NUL.

    Texts over 8,192 characters are not cached; of those over 16,384 only the first words are read.
    """
    return _cached(sql) if len(sql) <= _CACHED_CHARACTERS else _judge(sql)


def _judge(sql: str) -> Verdict:
    if (nul := sql.find("\0")) >= 0:
        raise ValueError(f"character {nul + 1} of the statement is a NUL, which would cut it short there")
    whole = len(sql) <= _READ_CHARACTERS
    statements = read(sql, whole)
    known = whole and bool(statements) and not any(s.broken for s in statements)
    forms = [form_of(s.head) for s in statements]
    keyword = statements[0].keyword if statements else ""
    session = next(filter(None, map(instead, forms)), None)
    joinable, single = known and all(s.query for s in statements), whole and len(statements) == 1
    return Verdict(
        keyword=keyword,
        clean=known and all(s.clean for s in statements),
        reads=known and all(s.clean and not s.writes for s in statements),
        session=session,
        controls_transaction=not CONTROL.isdisjoint(forms),
        joinable=joinable,
        functions=frozenset().union(*(s.functions for s in statements)),
        single=single,
        on_standby=known and all(s.asks for s in statements) and not _UNICODE.search(sql),
        names=frozenset().union(*(s.names for s in statements)),
        renames=renames(keyword, of_session=session is not None, alone=single, queries=joinable),
    )


_cached = lru_cache(maxsize=2048)(_judge)
