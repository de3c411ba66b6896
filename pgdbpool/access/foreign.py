"""The real psycopg2 connection, for COPY, LISTEN, an ORM: ``connection()``, ``getconn()`` and ``putconn()``."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from threading import get_ident
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.access.desk import Desk
from pgdbpool.access.hold import Hold
from pgdbpool.access.request import Request, bounded, refuse_late_commit
from pgdbpool.access.scribe import Scribe, scribe
from pgdbpool.access.statements import aborted, lost, refuse_lost_commit
from pgdbpool.driver.cleaning import end_transaction
from pgdbpool.driver.guarded import lend, take_back
from pgdbpool.driver.session import Session, limit_of
from pgdbpool.engine.loans import Loans
from pgdbpool.engine.owners import present_owner
from pgdbpool.errors import PoolError
from pgdbpool.waiting import Slot

_base = extensions.connection
_set_autocommit = _base.autocommit.__set__  # type: ignore[attr-defined]


class Borrowed(Hold):
    """``with pool.connection() as conn``: with autocommit off, commit on a clean exit and rollback on an exception."""

    __slots__ = ("_autocommit", "_scribe", "_tenancy", "_varied", "key", "raw")

    def __init__(self, desk: Desk, autocommit: bool, read_only: bool, timeout: float | None) -> None:
        super().__init__(desk, read_only, timeout)
        self._autocommit = autocommit
        self.key: Hashable = None  # of getconn
        self._scribe: Scribe | None = None
        self._varied = False  # it has another statement_timeout than the session's

    def __enter__(self) -> Any:
        slot = self._check_out()
        session = slot.resource
        raw = self.raw = session.raw
        self._scribe = scribe(self._desk, self._owner, slot, read_only=self._read_only)
        if self._scribe is not None:
            self._scribe.hand_out(self._owner)
        try:
            self._tenancy = lend(session, session.limit, bounded=bounded)
            if self._owner.request is not None:
                self._vary(session, self._owner.request)
            if not self._autocommit:
                _set_autocommit(raw, False)
            if self._read_only:
                raw.readonly = True
        except BaseException:
            self._give_back(slot, soiled=True)
            raise
        return raw

    def _vary(self, session: Session, request: Request) -> None:
        """The server's side of the request's deadline, as it is now."""
        limit = request.answer_in(session.query_timeout)
        self._varied = limit != session.query_timeout and session.pooled_by is None
        if self._varied:
            try:
                session.execute(f"SET statement_timeout = {limit:d}", None, limit_of(limit))
            except psycopg2.Error as error:
                raise lost(session, error, wrote=False, doing="its checkout") from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.leave(commit=error is None)

    def leave(self, *, commit: bool, close: bool = False) -> None:
        """Give it back; what was done since the last commit is kept, or undone."""
        slot = self._held()
        try:
            if close:
                _base.close(self.raw)
            elif self._tenancy.used and commit:
                self._commit()
            elif self._tenancy.used:  # at once and not with the reset: somebody may be waiting for the locks
                with suppress(psycopg2.Error):  # a lost connection is found at release
                    end_transaction(slot.resource, slot.resource.limit)
        finally:
            self._give_back(slot)

    def hand_over(self) -> Any:
        """From now on the calling thread may use it, in place of the one it was lent to."""
        self._held()
        self._tenancy.thread = get_ident()
        if self._scribe is not None:
            self._scribe.hand_out(present_owner())
        return self.raw

    @property
    def _is_handed_over(self) -> bool:
        return self._tenancy.thread != self._owner.ident

    @property
    def is_mine(self) -> bool:
        """Whether it is the calling thread that may use it."""
        return self._tenancy.thread == get_ident()

    def _commit(self) -> None:
        session = self._tenancy.session
        if session.closed_by_user or self.raw.autocommit:
            return
        refuse_lost_commit(session)
        failed = session.failed
        if session.in_transaction and not failed:
            refuse_late_commit(lambda: end_transaction(session, session.limit))
        try:
            session.within(session.limit, _base.commit, self.raw)  # which rolls back what has failed
        except psycopg2.Error as error:
            if session.lost:
                raise lost(session, error, wrote=not failed, doing="a COMMIT") from error
            raise
        if failed:
            raise aborted(self._tenancy.first_error)

    def _give_back(self, slot: Slot, soiled: bool = False) -> None:
        raw = self.raw
        soiled = take_back(raw) or soiled or self._varied
        self._varied = False
        if self._scribe is not None:
            self._scribe.close()
        if not (soiled or raw.autocommit or raw.closed):
            _set_autocommit(raw, True)
        self._release(slot, soiled)


def getconn(desk: Desk, loans: Loans, key: Hashable, timeout: float | None) -> Any:
    """A connection until ``putconn``; with a ``key``, the one that this key holds already, lent to the calling thread."""
    loan = loans.of_key(key)
    if loan is None:
        mine = Borrowed(desk, desk.options.autocommit is True, False, timeout)
        mine.key = key
        mine.__enter__()
        loan = loans.enter(mine)
        if loan is not mine:  # another thread was faster with this key
            mine.leave(commit=False)
    return loan.hand_over()


def putconn(loans: Loans, raw: Any, key: Hashable, close: bool) -> None:
    """Give back what ``getconn`` took: what was not committed is rolled back. Raises ``PoolError`` for any other."""
    loan = loans.leave(raw, key)
    if loan is None:
        lent = "getconn() of this pool has not lent to this thread"
        raise PoolError(
            f"putconn() of a connection that {lent}, or which is back already; another thread has to say its key"
        )
    loan.leave(commit=False, close=close)
