"""One statement: what may be sent, how long it may take, and what its failure means."""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from typing import Any

import psycopg2
from psycopg2 import errors as sqlstates
from psycopg2.extras import Json

from pgdbpool.access.request import noted
from pgdbpool.driver.session import Session
from pgdbpool.errors import DBConnectionError, DBQueryError, InDoubt, PoolError
from pgdbpool.text import Verdict, look

_PLAIN = {int, float, bool, str, bytes, bytearray, memoryview, type(None), decimal.Decimal, uuid.UUID}
_PLAIN |= {Json, datetime.date, datetime.datetime, datetime.time, datetime.timedelta}


def seconds(timeout: float | None, default: float) -> float:
    """A ``timeout`` of a call, or the default."""
    if timeout is None:
        return default
    if isinstance(timeout, (int, float)) and timeout >= 0:
        return timeout
    raise ValueError(f"timeout is {timeout!r}; it must be a number of seconds, 0 or more")


def milliseconds(query_timeout: int | None) -> int | None:
    """A ``query_timeout`` of a call; None stands for the connection's own."""
    if query_timeout is None or (isinstance(query_timeout, int) and query_timeout >= 0):
        return query_timeout
    raise ValueError(f"query_timeout is {query_timeout!r}; it must be a whole number of milliseconds, 0 for no limit")


def plain(params: Any) -> bool:
    """Whether no parameter can carry SQL of its own, as ``AsIs`` or a user's adapter may."""
    if not params:
        return True
    if type(params) not in (tuple, list, dict):
        return False
    for value in params.values() if type(params) is dict else params:
        kind = type(value)
        if kind not in _PLAIN and not (kind in (list, tuple) and plain(value)):
            return False
    return True


def prepared(sql: Any, session: Session | None) -> tuple[str, Verdict]:
    """The text of a str, bytes or ``psycopg2.sql.Composable``, and what is known of it.

    Raises ``DBQueryError``. Without a ``session`` a Composable cannot be written out: TypeError.
    """
    try:
        if isinstance(sql, bytes):
            sql = sql.decode()
        elif session is not None and hasattr(sql, "as_string"):
            sql = sql.as_string(session.raw)
        if not isinstance(sql, str):
            raise TypeError(f"sql must be str, bytes or psycopg2.sql.Composable, not {type(sql).__name__}")
        return sql, look(sql)
    except Exception as error:
        raise DBQueryError.like(error) from error


def one_shot(sql: Any, session: Session | None) -> tuple[str, Verdict]:
    """``prepared``, where there is no session: raises for a statement that only makes sense in one."""
    text, verdict = prepared(sql, session)
    if verdict.session is not None:
        error = psycopg2.ProgrammingError(verdict.session)
        raise DBQueryError.like(error) from error
    return text, verdict


def lost(session: Session, error: BaseException, *, wrote: bool, doing: str) -> PoolError:
    """The error for a connection that was lost while ``doing``; ``wrote``: something that may have taken effect."""
    why = f"{session.cut}: " if session.cut else ""
    said = " ".join(str(error).split())
    if wrote:
        return noted(
            InDoubt(f"the connection was lost during {doing}, which may or may not have taken effect ({why}{said})")
        )
    return noted(DBConnectionError(f"the connection was lost during {doing} ({why}{said})"))


def refuse_lost_commit(session: Session) -> None:
    """A COMMIT that was never sent is in no doubt."""
    if session.lost or (session.poll(0) and session.hung_up()):
        before = "the connection was lost before COMMIT was sent; nothing of the transaction was kept"
        raise noted(DBConnectionError(before))


def rejected(error: Exception, *before: str) -> DBQueryError:
    """The error of a message; positions refer to that part of it in which they are.

    ``before`` are its parts (whole lines) but for the last.
    """
    if not isinstance(error, psycopg2.Error) or error.diag.statement_position is None:
        return noted(DBQueryError.like(error))
    position, lines = int(error.diag.statement_position), 0
    for part in before:
        if position <= len(part):
            break
        position -= len(part)
        lines += part.count("\n")
    pgerror = None if error.pgerror is None else _renumbered(error.pgerror, lines)
    message = _renumbered(str(error), lines)
    return DBQueryError.like(error, message=message, pgerror=pgerror, statement_position=str(position))


def _renumbered(message: str, lines: int) -> str:
    # "LINE 3: ", in whatever language libpq speaks; the first line of a message never looks like that
    shifted = lambda found: f"{found[1]} {int(found[2]) - lines}: "  # noqa: E731
    return re.sub(r"(?m)(?<=\n)(\w+) (\d+): ", shifted, message, count=1)


def aborted(first: BaseException | None) -> DBQueryError:
    """What psycopg2 does not raise: the COMMIT of a transaction that has failed already."""
    said = "the transaction has failed and was rolled back; nothing of it was committed"
    failure = DBQueryError.like(sqlstates.InFailedSqlTransaction(said), pgcode="25P02")
    failure.__cause__ = first
    return failure
