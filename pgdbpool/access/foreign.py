"""The real psycopg2 connection, for COPY, LISTEN, an ORM: ``connection()``, ``getconn()`` and ``putconn()``."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from contextlib import suppress
from types import TracebackType
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.access.desk import Desk
from pgdbpool.access.statements import aborted, lost
from pgdbpool.driver.guarded import first_error, lend, take_back, was_used
from pgdbpool.driver.session import Session
from pgdbpool.engine.loans import Loan, Loans
from pgdbpool.engine.owners import Owner, place_of_caller, present_owner
from pgdbpool.errors import DBConnectionError, PoolError
from pgdbpool.waiting import Slot

__all__ = ["Borrowed", "getconn", "putconn"]

_base = extensions.connection
_set_autocommit = _base.autocommit.__set__  # type: ignore[attr-defined]


def _take(desk: Desk, owner: Owner, autocommit: bool, read_only: bool, timeout: float | None) -> Slot:
    slot = desk.group.checkout(owner, desk.timeout if timeout is None else timeout)
    session: Session = slot.resource
    try:
        lend(session.raw, session, desk.limit)
        if not autocommit:
            _set_autocommit(session.raw, False)
        if read_only:
            session.raw.readonly = True
    except BaseException:
        _give_back(desk, slot, owner, soiled=True)
        raise
    return slot


def _give_back(desk: Desk, slot: Slot, owner: Owner, *, soiled: bool = False) -> None:
    raw = slot.resource.raw
    soiled = take_back(raw) or soiled
    if not (soiled or raw.autocommit or raw.closed):
        _set_autocommit(raw, True)
    desk.give_back(slot, owner, soiled)


def _commit(session: Session, limit: float) -> None:
    raw = session.raw
    if session.lost or (session.poll(0) and session.hung_up()):  # a COMMIT that was never sent is in no doubt
        raise DBConnectionError("the connection was lost before COMMIT was sent; nothing of the transaction was kept")
    if raw.get_transaction_status() == extensions.TRANSACTION_STATUS_INERROR:
        with session.within(limit):
            _base.rollback(raw)
        raise aborted(first_error(raw))
    try:
        with session.within(limit):
            _base.commit(raw)
    except psycopg2.Error as error:
        if session.lost:
            raise lost(session, error, wrote=True, doing="a COMMIT") from error
        raise


def _roll_back(session: Session, limit: float) -> None:
    """At once and not with the reset: somebody may be waiting for the locks. A lost connection is found at release."""
    with suppress(psycopg2.Error), session.within(limit):
        _base.rollback(session.raw)


class Borrowed:
    """``with pool.connection() as conn``: with autocommit off, commit on a clean exit and rollback on an exception."""

    __slots__ = ("__weakref__", "_desk", "_owner", "_read_only", "_slot", "_timeout", "_turn")

    def __init__(self, desk: Desk, read_only: bool, timeout: float | None) -> None:
        self._desk = desk
        self._read_only = read_only
        self._timeout = timeout
        self._slot: Slot | None = None

    def __enter__(self) -> Any:
        if self._slot is not None:
            raise PoolError("this connection() is in use already: its block was entered twice")
        self._owner = present_owner()
        self._slot = _take(self._desk, self._owner, self._desk.autocommit, self._read_only, self._timeout)
        self._turn = self._slot.turn
        self._slot.place = place_of_caller()
        self._slot.holder = weakref.ref(self)
        return self._slot.resource.raw

    def holds(self, slot: Slot) -> bool:
        """Internal: whether this object answers for that connection."""
        return self._slot is slot

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot = self._slot
        if slot is None or slot.owner is not self._owner or slot.turn != self._turn:
            raise PoolError("this connection was taken back: after a fork, or after its thread had ended")
        session = slot.resource
        try:
            if was_used(session.raw) and not session.closed_by_user and not session.raw.autocommit:
                if error is None:
                    _commit(session, self._desk.limit)
                else:
                    _roll_back(session, self._desk.limit)
        finally:
            _give_back(self._desk, slot, self._owner)


def getconn(desk: Desk, loans: Loans, key: Hashable, timeout: float | None) -> Any:
    """A connection until ``putconn``; with a ``key``, the one that this key holds already, lent to the calling thread."""
    held = loans.of_key(key)
    if held is not None:
        lend(held.slot.resource.raw, held.slot.resource, held.desk.limit)
        return held.slot.resource.raw
    owner = present_owner()
    slot = _take(desk, owner, desk.options.autocommit is True, False, timeout)
    loan = Loan(slot.resource.raw, key, desk, slot, owner)
    loans.enter(loan)
    slot.place = place_of_caller()
    slot.holder = loan.itself
    return slot.resource.raw


def putconn(loans: Loans, raw: Any, key: Hashable, close: bool) -> None:
    """Give back what ``getconn`` took: what was not committed is rolled back. Raises ``PoolError`` for any other."""
    loan = loans.leave(raw, key)
    if loan is None:
        raise PoolError(
            "putconn() of a connection that getconn() of this pool has not lent, or that was put back already"
        )
    session = loan.slot.resource
    if loan.slot.owner is not loan.owner or loan.slot.turn != loan.turn:
        raise PoolError("this connection was taken back: after a fork, or after its thread had ended")
    try:
        if close:
            _base.close(raw)
        elif not session.lost and session.in_transaction:
            _roll_back(session, loan.desk.limit)
    finally:
        loan.slot.place = loan.slot.holder = None
        _give_back(loan.desk, loan.slot, loan.owner)
