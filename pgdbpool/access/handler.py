"""``with Handler() as db``: one connection for a block; ``with transaction() as db``: one transaction for a block."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from pgdbpool.access.block import Block
from pgdbpool.access.desk import Desk
from pgdbpool.access.dialogue import begin
from pgdbpool.access.lease import Lease
from pgdbpool.access.outcome import outcome_of
from pgdbpool.engine.current import default_pool
from pgdbpool.engine.owners import open_transaction, present_owner
from pgdbpool.errors import InDoubt, PoolError


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
        super().__init__((_pool or default_pool()).desk(group), read_only, timeout, query_timeout)

    def query_prepared(self, params: Sequence[Any]) -> Any:
        """1.0's: call ``"SQLPrepare"."ExecuteQuery"`` with these parameters; the first column of its first row.

        What it EXECUTEs are the statements that the group's ``sqlprepare`` had prepared. Raises what ``query`` raises.
        """
        marks = ", ".join(["%s"] * len(params))
        row = self.query(f'SELECT * FROM "SQLPrepare"."ExecuteQuery"({marks})', params).fetchone()
        return None if row is None else row[0]


class Transaction:
    """``with`` block in one transaction, whatever the group's autocommit; inside another one of this thread a savepoint."""

    __slots__ = ("__weakref__", "_desk", "_opening", "_options", "_track", "_within", "lease")

    def __init__(
        self, desk: Desk, isolation: str | None, options: tuple[bool, float | None, int | None], track: bool
    ) -> None:
        self._desk = desk
        self._track = track and not options[0]
        self._options = options
        self._opening = begin(isolation, options[0])
        self._within: Block | Lease | None = None

    def __enter__(self) -> Lease:
        if self._within is not None:
            raise PoolError("this transaction is in use already: its block was entered twice")
        owner = present_owner()
        outer: Transaction | None = open_transaction(owner, self._desk)
        within: Block | Lease
        if outer is None:
            within = Lease(self._desk, *self._options)
            within._terms = False, self._opening, 1
            within._track = self._track
            if "SERIALIZABLE" in self._opening:
                within._reads = False  # which no standby offers (manual, Serializable Isolation Level)
        else:
            within = Block(outer.lease, self._opening)
        self.lease: Lease = within.__enter__()
        self._within = within
        if outer is None:
            owner.transactions[self._desk] = weakref.ref(self)
        return self.lease

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        within, self._within = self._within, None
        if within is None:
            raise PoolError("this transaction was left already, or never entered")
        try:
            within.__exit__(kind, error, trace)
        except InDoubt as doubt:
            if within is self.lease and (known := within.tracked()) is not None:
                doubt.outcome = outcome_of(known, self._desk, within._owner)
            raise
        finally:
            if within is self.lease and open_transaction(within._owner, self._desk) is self:  # it may be a later one
                del within._owner.transactions[self._desk]
