"""Giving a session back as it was: the server's side by one message, psycopg2's side by hand."""

from __future__ import annotations

import psycopg2
from psycopg2 import extensions

from pgdbpool.driver.session import Session

# DISCARD ALL without DISCARD PLANS: the plans of SQL functions and foreign keys hold nothing of a request, and making
# them again is what function-heavy applications pay for. RESET ROLE after SET SESSION AUTHORIZATION brings back a role
# that came with the start-up packet. (PostgreSQL manual, DISCARD and SET ROLE.)
_RESET = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
_MODES = ("isolation_level", "readonly", "deferrable")
_TYPES = ("string_types", "binary_types")


def note_client_side(session: Session) -> None:
    """Psycopg2's half of what ``clean`` brings back."""
    raw = session.raw
    modes = {name: "DEFAULT" if (mode := getattr(raw, name)) is None else mode for name in _MODES}
    types = {name: dict(getattr(raw, name)) for name in _TYPES}
    session.client_side = {"modes": modes, "encoding": raw.encoding, "cursor_factory": raw.cursor_factory, **types}


def clean(session: Session, limit: float, *, reset: bool = True) -> bool:
    """Bring the session back to its baseline within ``limit`` seconds; false when it cannot be, and must be closed.

    ``reset=False`` (``reset: "never"``, or a transaction pooler) only ends the transaction and restores psycopg2's
    side.
    """
    if session.lost or session.restore is None or not (session.idle or session.in_transaction):
        return False
    try:
        end_transaction(session, limit)
        session.within(limit, _restore_client_side, session)
        if reset and session.pooled_by is None:
            session.execute(_RESET + session.restore, None, limit)
    except psycopg2.Error:
        return False
    session.raw.notices = []
    session.raw.notifies = []
    return not session.lost


def end_transaction(session: Session, limit: float) -> None:
    """Roll back what is open; raises psycopg2's error where the connection is lost."""
    if session.raw.status != extensions.STATUS_READY:  # psycopg2 opened it, and must know that it ended
        session.within(limit, extensions.connection.rollback, session.raw)
    elif session.in_transaction:
        session.execute("ROLLBACK", None, limit)


def _restore_client_side(session: Session) -> None:
    raw, was, base = session.raw, session.client_side, extensions.connection
    base.set_session(raw, **was["modes"], autocommit=False)  # in autocommit it would send a SET for each that changes
    base.autocommit.__set__(raw, True)  # type: ignore[attr-defined]
    if raw.encoding != was["encoding"]:
        base.set_client_encoding(raw, was["encoding"])
    raw.cursor_factory = was["cursor_factory"]
    for name in _TYPES:
        types = getattr(raw, name)
        types.clear()
        types.update(was[name])
