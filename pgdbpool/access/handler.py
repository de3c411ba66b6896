"""``with Handler() as db``: one connection for a block; ``with transaction() as db``: one transaction for a block."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg2

from pgdbpool.access.block import Block
from pgdbpool.access.desk import Desk
from pgdbpool.access.dialogue import begin
from pgdbpool.access.lease import Lease
from pgdbpool.engine.current import default_pool
from pgdbpool.engine.owners import open_transaction, present_owner
from pgdbpool.errors import PoolError

__all__ = ["Handler", "Transaction"]


class Handler(Lease):
    """``with`` block holding one connection of a group of the default pool (``pool.handler()``: of that pool).

    With the group's autocommit off: commit on a clean exit, rollback on an exception. ``timeout`` is the wait for the
    connection in seconds, ``query_timeout`` the limit of each answer in milliseconds.

    Raises ``UnconfiguredGroupError`` at once, and when the block is entered ``PoolTimeout``, ``DBOfflineError``,
    ``NestedCheckout``, ``TooManyRequests`` or ``PoolClosed``.
    """

    __slots__ = ()

    def __init__(
        self,
        group: str | None = None,
        *,
        read_only: bool = False,
        timeout: float | None = None,
        query_timeout: int | None = None,
        _pool: Any = None,
    ) -> None:
        desk: Desk = (_pool or default_pool()).desk(group)
        super().__init__(desk, desk.autocommit, read_only, timeout, query_timeout)

    def __enter__(self) -> Handler:
        self._take()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None:
                with suppress(psycopg2.Error):  # the error on its way is the news; a loss is found at release
                    self._end(commit=False)
            else:
                self._finish()
        finally:
            self._leave(error)

    def query_prepared(self, params: Sequence[Any]) -> Any:
        """1.0's: call ``"SQLPrepare"."ExecuteQuery"`` with these parameters; the first column of its first row.

        What it EXECUTEs are the statements that the group's ``sqlprepare`` had prepared. Raises what ``query`` raises.
        """
        marks = ", ".join(["%s"] * len(params))
        row = self.query(f'SELECT * FROM "SQLPrepare"."ExecuteQuery"({marks})', params).fetchone()
        return None if row is None else row[0]

    def _finish(self) -> None:
        """The clean end. A stream that was broken off ends with its block, as it would by ``close()``."""
        if not self._autocommit:
            self.commit()
        elif self._own_stream is not None:
            with self.at_work() as dialogue:
                dialogue.end(commit=not dialogue.failed)


class Transaction:
    """``with`` block in one transaction, whatever the group's autocommit; inside another one of this thread a savepoint."""

    __slots__ = ("__weakref__", "_block", "_desk", "_opening", "_options", "_own", "lease")

    def __init__(self, desk: Desk, isolation: str | None, options: tuple[bool, float | None, int | None]) -> None:
        self._desk = desk
        self._options = options
        self._opening = begin(isolation, options[0])
        self._block: Block | None = None

    def __enter__(self) -> Lease:
        if self._block is not None:
            raise PoolError("this transaction is in use already: its block was entered twice")
        owner = present_owner()
        outer: Transaction | None = open_transaction(owner, self._desk)
        self._own: Lease | None = None
        if outer is not None:
            lease: Lease = outer.lease
        else:
            self._own = lease = Lease(self._desk, True, *self._options)
            lease._take()
        block = Block(lease, self._opening)
        try:
            block.__enter__()
        except BaseException:
            if self._own is not None:
                self._own._give_back()
            raise
        self.lease: Lease = lease
        self._block = block
        if outer is None:
            owner.transactions[self._desk] = weakref.ref(self)
        return lease

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        block, self._block = self._block, None
        try:
            if block is not None:
                block.__exit__(kind, error, trace)
        finally:
            if self._own is not None:
                self._own._owner.transactions.pop(self._desk, None)
                self._own._leave(error)
