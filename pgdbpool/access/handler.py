"""``with Handler() as db``: one connection for a block; ``with transaction() as db``: one transaction for a block."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any

import psycopg2

from pgdbpool.access.block import Block
from pgdbpool.access.desk import Desk
from pgdbpool.access.dialogue import begin
from pgdbpool.access.lease import Lease
from pgdbpool.engine.current import default_pool
from pgdbpool.engine.owners import present_owner
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                with suppress(
                    psycopg2.Error
                ):  # the error on its way is the news; a lost connection is found at release
                    self._end(commit=False)
            elif not self._autocommit:
                self.commit()
        finally:
            self._give_back()


class Transaction:
    """``with`` block in one transaction, whatever the group's autocommit; inside another one of this thread a savepoint."""

    __slots__ = ("_block", "_desk", "_lease", "_opening", "_options", "_owner")

    def __init__(self, desk: Desk, isolation: str | None, options: tuple[bool, float | None, int | None]) -> None:
        self._desk = desk
        self._options = options
        self._opening = begin(isolation, options[0])
        self._block: Block | None = None

    def __enter__(self) -> Lease:
        if self._block is not None:
            raise PoolError("this transaction is in use already: its block was entered twice")
        self._owner = present_owner()
        joined = self._owner.transactions.get(self._desk)
        if joined is not None:
            self._lease: Lease | None = None
            return self._begin(joined)
        self._lease = Lease(self._desk, True, *self._options)
        self._lease._take()
        try:
            self._begin(self._lease)
        except BaseException:
            self._lease._give_back()
            raise
        self._owner.transactions[self._desk] = self._lease
        return self._lease

    def _begin(self, lease: Lease) -> Lease:
        block = Block(lease, self._opening)
        block.__enter__()
        self._block = block
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        block, self._block = self._block, None
        try:
            if block is not None:
                block.__exit__(kind, error, trace)
        finally:
            if self._lease is not None:
                self._owner.transactions.pop(self._desk, None)
                self._lease._give_back()
