"""Errors of the server in the middle of a transaction, each made for real, and what becomes of session and COMMIT."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Run, Setting
from tests.faults.client.trying import by_admin, in_thread, said, tried

__all__ = ["refused"]


def refused(
    peer: Peer, setting: Setting, link: Link, *, admin: dict[str, Any], schema: str, codes: list[str], **_: Any
) -> list[list[Any]]:
    """For each SQLSTATE: passed on as it is, the session kept, and a COMMIT of what has failed raises."""
    server = _Server(admin, schema)
    found = []
    for code in codes:
        provoke = _PROVOKE[code]
        pid = _pid(peer)
        error = tried(_in_transaction, peer, provoke, server).error
        again = _pid(peer)
        commit = tried(_committed_in_spite, peer, provoke, server).error
        found += [
            [f"{code} passed on", code in _states(error), said(error)],
            [f"{code}: the session", again == pid, "kept" if again == pid else "another one"],
            [f"{code}: COMMIT after it", commit is not None, said(commit, "passes for success")],
        ]
    return found


def _pid(peer: Peer) -> int:
    return int(peer.query("SELECT pg_backend_pid()")[0][0])


def _in_transaction(peer: Peer, provoke: Provoke, server: _Server) -> None:
    with peer.transaction() as run:
        provoke(run, server)


def _committed_in_spite(peer: Peer, provoke: Provoke, server: _Server) -> None:
    """As an application does that swallows an error and goes on."""
    with peer.transaction() as run, suppress(Exception):
        provoke(run, server)


def _states(error: BaseException | None) -> list[str | None]:
    """The SQLSTATE by psycopg2's name or psycopg's; SQLAlchemy has the driver's error as ``orig``."""
    known = [error, getattr(error, "orig", None)]
    return [getattr(each, name, None) for each in known for name in ("pgcode", "sqlstate")]


class _Server:
    """Others who work in the same tables."""

    def __init__(self, admin: dict[str, Any], schema: str) -> None:
        self.admin, self.table, self.full = admin, f"{schema}.account", f"{schema}.full"

    def add(self, number: int) -> str:
        return f"UPDATE {self.table} SET balance = balance + 0 WHERE id = {number}"

    def sql(self, text: str) -> list[Any]:
        return by_admin(self.admin, text)

    @contextmanager
    def other(self) -> Iterator[Callable[[str], None]]:
        """Another session in a transaction, which runs statements until the end of the block."""
        import psycopg2

        connection = psycopg2.connect(**self.admin)
        try:
            yield connection.cursor().execute
        finally:
            connection.close()

    def somebody_waits(self) -> None:
        limit = time.monotonic() + 5.0
        waits = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{self.table}%'"
        while not self.sql(waits):
            if time.monotonic() > limit:
                raise AssertionError("nobody waits")
            time.sleep(0.01)


Provoke = Callable[[Run, _Server], Any]


def _serialization_failure(run: Run, server: _Server) -> None:
    run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run(f"SELECT count(*) FROM {server.table}")
    server.sql(server.add(0))
    run(server.add(0))


def _deadlock(run: Run, server: _Server) -> None:
    """The other one's patience is the longer: so it is this one that the server chooses."""
    with server.other() as other:
        other("SET deadlock_timeout = '20s'")
        other(server.add(1))
        run(server.add(0))
        in_thread(other, server.add(0))
        server.somebody_waits()
        run(server.add(1))


def _failed_transaction(run: Run, server: _Server) -> None:
    with suppress(Exception):
        run("SELECT 1 / 0")
    run("SELECT 1")


def _query_canceled(run: Run, server: _Server) -> None:
    run("SET LOCAL statement_timeout = 100")
    run("SELECT pg_sleep(10)")


def _lock_not_available(run: Run, server: _Server) -> None:
    with server.other() as other:
        other(server.add(0))
        run("SET LOCAL lock_timeout = 100")
        run(server.add(0))


def _disk_full(run: Run, server: _Server) -> None:
    run(f"INSERT INTO {server.full} SELECT repeat('x', 1000) FROM generate_series(1, 10000)")


_PROVOKE: dict[str, Provoke] = {
    "40001": _serialization_failure,
    "40P01": _deadlock,
    "25P02": _failed_transaction,
    "57014": _query_canceled,
    "55P03": _lock_not_available,
    "53100": _disk_full,
}
