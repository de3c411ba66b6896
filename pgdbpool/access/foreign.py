"""The real psycopg2 connection, for COPY, LISTEN, an ORM: ``connection()``, ``getconn()`` and ``putconn()``."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.access.desk import Desk
from pgdbpool.access.hold import Hold
from pgdbpool.access.statements import aborted, lost, refuse_lost_commit
from pgdbpool.driver.guarded import hand_over, lend, take_back
from pgdbpool.engine.loans import Loan, Loans
from pgdbpool.errors import PoolError
from pgdbpool.waiting import Slot

__all__ = ["Borrowed", "getconn", "putconn"]

_base = extensions.connection
_set_autocommit = _base.autocommit.__set__  # type: ignore[attr-defined]


class Borrowed(Hold):
    """``with pool.connection() as conn``: with autocommit off, commit on a clean exit and rollback on an exception."""

    __slots__ = ("_autocommit", "_tenancy")

    def __init__(self, desk: Desk, autocommit: bool, read_only: bool, timeout: float | None) -> None:
        super().__init__(desk, read_only, timeout)
        self._autocommit = autocommit

    def __enter__(self) -> Any:
        slot = self._check_out()
        session = slot.resource
        try:
            self._tenancy = lend(session.raw, session, session.limit)
            if not self._autocommit:
                _set_autocommit(session.raw, False)
            if self._read_only:
                session.raw.readonly = True
        except BaseException:
            take_back(session.raw)
            self._release(slot, soiled=True)
            raise
        return session.raw

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        slot = self._held()
        session = slot.resource
        try:
            if error is not None:
                self._roll_back()
            elif self._tenancy.used and not session.closed_by_user and not session.raw.autocommit:
                self._commit()
        finally:
            self._give_back(slot)

    def put_back(self, close: bool) -> None:
        """End it without a commit."""
        slot = self._held()
        try:
            _base.close(slot.resource.raw) if close else self._roll_back()
        finally:
            self._give_back(slot)

    def _commit(self) -> None:
        session = self._tenancy.session
        refuse_lost_commit(session)
        failed = session.raw.get_transaction_status() == extensions.TRANSACTION_STATUS_INERROR
        try:
            with session.within(session.limit):
                _base.commit(session.raw)  # which rolls back what has failed
        except psycopg2.Error as error:
            if session.lost:
                raise lost(session, error, wrote=not failed, doing="a COMMIT") from error
            raise
        if failed:
            raise aborted(self._tenancy.first_error)

    def _roll_back(self) -> None:
        """At once and not with the reset: somebody may be waiting for the locks. A lost connection is found at release."""
        session = self._tenancy.session
        if not session.lost and session.in_transaction:
            with suppress(psycopg2.Error), session.within(session.limit):
                _base.rollback(session.raw)

    def _give_back(self, slot: Slot) -> None:
        raw = slot.resource.raw
        soiled = take_back(raw)
        if not (soiled or raw.autocommit or raw.closed):
            _set_autocommit(raw, True)
        self._release(slot, soiled)


def getconn(desk: Desk, loans: Loans, key: Hashable, timeout: float | None) -> Any:
    """A connection until ``putconn``; with a ``key``, the one that this key holds already, lent to the calling thread."""
    loan = loans.of_key(key)
    if loan is not None:
        hand_over(loan.raw)
        return loan.raw
    hold = Borrowed(desk, desk.options.autocommit is True, False, timeout)
    raw = hold.__enter__()
    loan = loans.enter(Loan(raw, key, hold))
    if loan.raw is not raw:  # another thread was faster with this key
        hold.put_back(False)
        hand_over(loan.raw)
    return loan.raw


def putconn(loans: Loans, raw: Any, key: Hashable, close: bool) -> None:
    """Give back what ``getconn`` took: what was not committed is rolled back. Raises ``PoolError`` for any other."""
    loan = loans.leave(raw, key)
    if loan is None:
        raise PoolError(
            "putconn() of a connection that getconn() of this pool has not lent, or that was put back already"
        )
    loan.hold.put_back(close)
