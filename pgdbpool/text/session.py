"""Statements that only make sense in a session, and what to use in their place."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["controls_transaction", "instead", "into_temporary"]

_TRANSACTION = "pgdbpool.transaction()"
_SAVEPOINT = "pgdbpool.transaction() inside another one, which is a savepoint"
_HANDLER = "pgdbpool.Handler(), which holds one connection for its block"
_SETTINGS = "the group's `settings`, SET LOCAL in pgdbpool.transaction(), or pgdbpool.Handler()"
_CURSOR = "stream() of pgdbpool.Handler()"
_TEMPORARY = "pgdbpool.transaction() with ON COMMIT DROP, or pgdbpool.Handler()"
_COPY = "pgdbpool.connection() and copy_expert()"
_LISTEN = "pgdbpool.connection()"
_PREPARE = "the statement itself with parameters, or pgdbpool.Handler()"

_INSTEAD = {
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "LOCK"), _TRANSACTION),
    **dict.fromkeys(("SAVEPOINT", "RELEASE", "ROLLBACK TO"), _SAVEPOINT),
    **dict.fromkeys(("SET", "RESET"), _SETTINGS),
    **dict.fromkeys(("PREPARE", "EXECUTE", "DEALLOCATE"), _PREPARE),
    **dict.fromkeys(("LISTEN", "UNLISTEN"), _LISTEN),
    **dict.fromkeys(("DECLARE", "FETCH", "MOVE", "CLOSE"), _CURSOR),
    **dict.fromkeys(("CREATE TEMP", "SELECT INTO TEMP"), _TEMPORARY),
    **dict.fromkeys(("COPY FROM STDIN", "COPY TO STDOUT"), _COPY),
    "PREPARE TRANSACTION": "pgdbpool.connection()",
    "DISCARD": "nothing: the pool cleans each connection itself",
    "LOAD": "the group's `on_connect`",
}
_CONTROL = frozenset(["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE TRANSACTION"])
_TEMP = ("TEMP", "TEMPORARY")
_PG_TEMP = ("PG_TEMP", '"pg_temp"')


def instead(head: Sequence[str]) -> str | None:
    """The sentence for a statement that begins with ``head`` (tokens outside parentheses, words in upper case)."""
    return _sentence(_form(head))


def controls_transaction(head: Sequence[str]) -> bool:
    """Whether it begins or ends a transaction."""
    return _form(head) in _CONTROL


def into_temporary(name: str) -> str | None:
    """The sentence for SELECT INTO, if ``name``, which follows INTO, makes it a temporary table."""
    return _sentence("SELECT INTO TEMP") if name in _TEMP or name in _PG_TEMP else None


def _sentence(form: str) -> str | None:
    return f"{form} only makes sense in a session: use {_INSTEAD[form]}" if form in _INSTEAD else None


def _form(head: Sequence[str]) -> str:
    """The first keyword, with as much of the rest as tells its forms apart."""
    keyword = head[0] if head else ""
    if keyword in ("COMMIT", "ROLLBACK"):
        return _end_form(keyword, head)
    if keyword == "PREPARE" and head[1:2] == ["TRANSACTION"]:
        return "PREPARE TRANSACTION"
    if keyword == "CREATE" and _creates_temporary(head):
        return "CREATE TEMP"
    if keyword == "COPY":
        return _copy_form(head)
    return keyword


def _end_form(keyword: str, head: Sequence[str]) -> str:
    rest = [word for word in head[1:3] if word not in ("WORK", "TRANSACTION")]
    return f"{keyword} {rest[0]}" if rest and rest[0] in ("PREPARED", "TO") else keyword


def _creates_temporary(head: Sequence[str]) -> bool:
    words = [word for word in head[1:6] if word not in ("OR", "REPLACE", "GLOBAL", "LOCAL")]
    pairs = zip(head, head[1:], strict=False)
    return words[:1] in (["TEMP"], ["TEMPORARY"]) or any(a in _PG_TEMP and b == "." for a, b in pairs)


def _copy_form(head: Sequence[str]) -> str:
    pairs = set(zip(head, head[1:], strict=False))
    forms = [f"COPY {a} {b}" for a, b in (("FROM", "STDIN"), ("TO", "STDOUT")) if (a, b) in pairs]
    return forms[0] if forms else "COPY"
