"""``Pool``: everything a user calls, and nothing else; each method says where the work is done."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic, sleep
from typing import Any

from pgdbpool.access import foreign, repeat
from pgdbpool.access.desk import Desk
from pgdbpool.access.handler import Handler, Transaction
from pgdbpool.access.results import Result
from pgdbpool.access.tokens import Seeing, token_of
from pgdbpool.config import parse
from pgdbpool.engine.endpoint import latest_error
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.owners import open_transaction, present_owner
from pgdbpool.engine.single import Single
from pgdbpool.engine.threaded import Threaded
from pgdbpool.errors import PoolError, PoolTimeout, UnconfiguredGroupError
from pgdbpool.report import plan, probing
from pgdbpool.report.reporter import Reporter


class Pool:
    """A pool of psycopg2 connections, made from a dict (see ``doc/configuration.md``); a context manager that closes it.

    It opens connections in the background; ``wait=seconds`` returns when every group has its minimum and at least one
    connection, or raises ``PoolTimeout``. Raises ``ConfigError`` with every problem of the dict.
    """

    def __init__(self, config: Any, *, wait: float | None = None, _dealt: bool = False) -> None:
        self.was_default = False
        self._options = parse(config, dealt=_dealt)
        self._engine: Engine = (Single if self._options.type == "non-threaded" else Threaded)(self._options)
        groups = self._options.groups
        self._desks: dict[str | None, Desk] = {name: Desk(self, self._engine, each) for name, each in groups.items()}
        self._desks[None] = self._desks[self._options.default_group]
        self._reporter = self._engine.reporter = Reporter(self._engine)
        self._engine.start()
        if wait is not None:
            self._wait(wait)

    def _wait(self, patience: float) -> None:
        began = monotonic()
        deadline = began + patience
        owner = present_owner()
        try:
            for desk in {*self._desks.values()}:  # a group without a minimum opens one when it is asked
                slot = desk.group.checkout(owner, deadline - monotonic(), desk.reading)
                desk.group.release(slot, owner)
                owner.taken = None  # a thread that asks no more keeps nothing of the pool
            while not self._engine.ready():
                if monotonic() >= deadline:
                    raise PoolTimeout(f"fewer connections than min_connections. {self._engine.describe()}")
                sleep(0.005)
        except PoolError as reason:
            self._engine.close(0)
            error = PoolTimeout(f"the pool is not ready after {monotonic() - began:.2f} s: {reason}")
            raise error from (reason.__cause__ or latest_error(self._engine.endpoints))

    def desk(self, group: str | None) -> Desk:
        """Internal: the group's desk. Raises ``UnconfiguredGroupError``."""
        try:
            return self._desks[group]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, self._options.groups))
            raise UnconfiguredGroupError(f"there is no group {group!r}; configured are: {known}") from None

    # -- using it ---------------------------------------------------------------------------------------------------

    def query(
        self,
        sql: Any,
        params: Any = None,
        *,
        group: str | None = None,
        read_only: bool | None = None,
        timeout: float | None = None,
        query_timeout: int | None = None,
    ) -> Result:
        """One statement in autocommit; its connection is back in the pool before this returns.

        Inside ``transaction()`` of the same group and thread it joins that transaction. ``read_only=True`` promises
        that it only reads: it is then run once more if the connection is lost. ``timeout``: seconds to wait for a
        connection; ``query_timeout``: milliseconds for the answer. Raises ``DBQueryError`` for what the server rejects
        and for statements that only make sense in a session, ``InDoubt`` for a write whose answer was lost.
        """
        desk = self.desk(group)
        owner = present_owner()
        if owner.transactions and (joined := open_transaction(owner, desk)) is not None:
            return joined.lease.query(sql, params, query_timeout=query_timeout)  # type: ignore[no-any-return]
        return desk.query(owner, sql, params, read_only, timeout, query_timeout)

    def handler(
        self,
        group: str | None = None,
        *,
        read_only: bool = False,
        timeout: float | None = None,
        query_timeout: int | None = None,
    ) -> Handler:
        """``with`` block holding one connection: see ``Handler``."""
        return Handler(group, read_only=read_only, timeout=timeout, query_timeout=query_timeout, _pool=self)

    def transaction(
        self,
        group: str | None = None,
        *,
        read_only: bool = False,
        isolation: str | None = None,
        timeout: float | None = None,
        query_timeout: int | None = None,
        track: bool = False,
    ) -> Transaction:
        """``with`` block in one transaction: commit on a clean exit, rollback on an exception.

        Inside another one of the same group and thread it is a savepoint. ``isolation``: ``"read committed"``,
        ``"repeatable read"`` or ``"serializable"``. Leaving the block raises ``InDoubt`` if the answer to COMMIT was
        lost.
        """
        return Transaction(self.desk(group), isolation, (read_only, timeout, query_timeout), track)

    def run(
        self,
        fn: Callable[..., Any],
        *args: Any,
        group: str | None = None,
        read_only: bool = False,
        isolation: str | None = None,
        retries: int = 3,
        timeout: float | None = None,
        track: bool = True,
        **kwargs: Any,
    ) -> Any:
        """``fn(db, *args, **kwargs)`` in a transaction; returns what it returns.

        The whole of it runs again, at most ``retries`` times, after a serialization failure, a deadlock, or a
        connection lost before COMMIT was sent: ``fn`` must not have effects outside the database. Raises ``PoolError``
        inside another transaction.
        """
        desk = self.desk(group)
        transaction = Transaction(desk, isolation, (read_only, timeout, None), track)
        return repeat.run(desk, transaction, retries, fn, *args, **kwargs)

    def connection(
        self, group: str | None = None, *, read_only: bool = False, timeout: float | None = None
    ) -> foreign.Borrowed:
        """``with`` block yielding the real psycopg2 connection (COPY, LISTEN, an ORM), for the thread that entered it.

        Its autocommit is the group's; with autocommit off: commit on a clean exit, rollback on an exception. psycopg2's
        own errors pass untouched. Whatever was done on it is reset before anyone else gets it.
        """
        desk = self.desk(group)
        return foreign.Borrowed(desk, desk.autocommit, read_only, timeout)

    def getconn(self, key: Hashable = None, *, group: str | None = None, timeout: float | None = None) -> Any:
        """As ``psycopg2.pool.ThreadedConnectionPool.getconn``, but waiting; not in autocommit unless the group says so.

        A ``key`` has one connection of the pool, whatever the group.
        """
        return foreign.getconn(self.desk(group), self._engine.loans, key, timeout)

    def putconn(self, conn: Any, key: Hashable = None, close: bool = False) -> None:
        """Give back what ``getconn`` took; what was not committed is rolled back. ``close=True`` closes it.

        Raises ``PoolError`` for what this pool has not lent, or not to this thread: another one may give back a connection
        that was taken with a ``key``, by saying it.
        """
        foreign.putconn(self._engine.loans, conn, key, close)

    def has_lent(self, conn: Any) -> bool:
        """Internal: whether ``getconn`` took it from here."""
        return self._engine.loans.has(conn)

    # -- reading what was written --------------------------------------------------------------------------------------

    def causal_token(self) -> str | None:
        """What this thread has written, for ``causal()`` of another thread, process or host; None if nothing lately.

        A text of letters, digits and hyphens, not signed. After writes outside ``transaction()`` it may ask the primary, and
        raise what a checkout raises.
        """
        return token_of(self.writing_desk(), present_owner())

    def causal(self, token: str | None) -> Seeing:
        """``with`` block whose reads in this thread show what the token stands for.

        They go to a standby that has replayed it, or else to the primary. None, and a token whose life is over, ask for
        nothing; ValueError for what is no token.
        """
        return Seeing(self._engine.causal, token)

    def writing_desk(self) -> Desk:
        """Internal: the default group's, or that of another one which goes to the primary where that does not."""
        desks = [self._desks[None], *self._desks.values()]
        return next((desk for desk in desks if desk.group.writing.need in ("primary", "read-write")), desks[0])

    # -- looking at it ----------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Figures of every group and endpoint, JSON-serialisable; times in seconds, counters since the start."""
        return self._reporter.stats()

    def host_figures(self, *, live: bool = True) -> dict[str, Any]:
        """Internal: the figures of all workers of this host, in buckets; not ``live``: as they were some seconds ago."""
        return self._reporter.host(live)

    def unserved(self) -> dict[str, str | None]:
        """Internal: by group, why it cannot be served now, or None where it can; from memory."""
        return self._reporter.unserved()

    def explain(self, workers: int | None = None) -> str:
        """The plan that the configuration amounts to; for ``workers`` processes, else ``WEB_CONCURRENCY``'s."""
        return plan.explain(self._options, workers)

    def check(self) -> dict[str, dict[str, Any]]:
        """Probe every endpoint now: per label ``ok``, ``role``, ``server_version``, ``round_trip`` (s), ``error``."""
        return probing.check(self._engine)

    # -- changing it ------------------------------------------------------------------------------------------------

    def resize(self, group: str, connection_count: int) -> None:
        """Let the group hold so many connections to each endpoint from now on.

        What is beyond that goes: idle connections at once, borrowed ones when they come back. ``min_connections`` stays,
        but for what the new number does not allow. Raises ``ConfigError`` for what would be no valid ``connection_count``.
        """
        self._engine.resize(self.desk(group).group, connection_count)

    def drain(self, label: str) -> None:
        """Take an endpoint out: nothing is sent there any more, nobody dials it, and each connection closes when it is free.

        Returns at once; ``stats()`` tells how many connections are left. When every endpoint that a group may use is
        drained, its requests fail at once by ``DBOfflineError``. Raises ``ConfigError`` for an unknown label.
        """
        self._engine.drain(label)

    def resume(self, label: str) -> None:
        """Put a drained endpoint back to work; it is dialled at once, and eased in. Raises ``ConfigError`` as ``drain``."""
        self._engine.resume(label)

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self, timeout: float = 5) -> None:
        """Refuse new work, fail whoever waits, and close.

        Borrowed connections have ``timeout`` seconds to come back; then their sockets are shut and a warning is logged
        that says who held them. Idempotent.
        """
        self._engine.close(timeout)

    def close_in_background(self) -> None:
        """Internal: ``close()`` that does not hold up who makes the next pool."""
        self._engine.close_in_background(5)

    def closeall(self) -> None:
        """``close(0)`` by psycopg2's name: it does not wait for what is borrowed."""
        self.close(0)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        groups, labels = ", ".join(self._options.groups), ", ".join(each.label for each in self._options.endpoints)
        return f"<Pool {groups} at {labels}>"
