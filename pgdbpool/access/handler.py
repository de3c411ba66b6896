"""``with Handler() as db``: one connection for a block; ``with transaction() as db``: one transaction for a block."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any

import psycopg2

from pgdbpool.access.current import default_pool
from pgdbpool.access.desk import Desk
from pgdbpool.access.lease import Block, Lease, begin
from pgdbpool.engine.owners import present_owner

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

    __slots__ = ("_block", "_desk", "_lease", "_options", "_owner")

    def __init__(self, desk: Desk, isolation: str | None, options: tuple[bool, float | None, int | None]) -> None:
        self._desk = desk
        self._options = options
        self._block: Block | str = begin(isolation, options[0])

    def __enter__(self) -> Lease:
        self._owner = present_owner()
        joined = self._owner.transactions.get(self._desk)
        self._lease: Lease | None = None
        if joined is None:
            joined = self._lease = Lease(self._desk, True, *self._options)
            joined._take()
        self._block = Block(joined, self._block if isinstance(self._block, str) else None)
        try:
            self._block.__enter__()
        except BaseException:
            if self._lease is not None:
                self._lease._give_back()
            raise
        if self._lease is not None:
            self._owner.transactions[self._desk] = joined
        return joined

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert isinstance(self._block, Block)
        try:
            self._block.__exit__(kind, error, trace)
        finally:
            if self._lease is not None:
                self._owner.transactions.pop(self._desk, None)
                self._lease._give_back()
