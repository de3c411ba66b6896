"""Giving a session back as it was: the server's side by one message, psycopg2's side by hand."""

from __future__ import annotations

import psycopg2
from psycopg2 import extensions

from pgdbpool.driver.session import Session

__all__ = ["clean"]

# DISCARD ALL without DISCARD PLANS: the plans of SQL functions and foreign keys hold nothing of a request, and making
# them again is what function-heavy applications pay for. RESET ROLE after SET SESSION AUTHORIZATION brings back a role
# that came with the start-up packet. (PostgreSQL manual, DISCARD and SET ROLE.)
_RESET = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
_QUIET = (
    extensions.TRANSACTION_STATUS_IDLE,
    extensions.TRANSACTION_STATUS_INTRANS,
    extensions.TRANSACTION_STATUS_INERROR,
)


def clean(session: Session, limit: float, *, reset: bool = True) -> bool:
    """Bring the session back to its baseline within ``limit`` seconds; false when it cannot be, and must be closed.

    ``reset=False`` (``reset: "never"``, or a transaction pooler) only ends the transaction and restores psycopg2's
    side.
    """
    if session.lost or session.raw.get_transaction_status() not in _QUIET or session.restore is None:
        return False
    try:
        _end_transaction(session, limit)
        with session.within(limit):
            _restore_client_side(session)
        if reset and session.pooled_by is None:
            session.execute(_RESET + session.restore, None, limit)
    except psycopg2.Error:
        return False
    session.raw.notices = []
    session.raw.notifies = []
    return not session.lost


def _end_transaction(session: Session, limit: float) -> None:
    if session.raw.status != extensions.STATUS_READY:  # psycopg2 opened it, and must know that it ended
        with session.within(limit):
            extensions.connection.rollback(session.raw)
    elif session.in_transaction:
        session.execute("ROLLBACK", None, limit)


def _restore_client_side(session: Session) -> None:
    raw, was = session.raw, session.client_side
    base = extensions.connection
    if raw.autocommit:  # where psycopg2 keeps these on the server, and sends a SET for each that changes
        base.autocommit.__set__(raw, False)  # type: ignore[attr-defined]
    for name in ("isolation_level", "readonly", "deferrable"):
        getattr(base, name).__set__(raw, was[name])
    base.autocommit.__set__(raw, True)  # type: ignore[attr-defined]
    if raw.encoding != was["encoding"]:
        base.set_client_encoding(raw, was["encoding"])
    raw.cursor_factory = was["cursor_factory"]
    for name in ("string_types", "binary_types"):
        types = getattr(raw, name)
        types.clear()
        types.update(was[name])
