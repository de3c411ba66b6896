"""No thread waits longer than its limits, also on a server that does not answer (contract §4)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBConnectionError, DBOfflineError, InDoubt, PoolError, PoolTimeout
from tests.life import Crowd, frozen, full, outcomes, stopped, thread_of, ticking, warm
from tests.servers import Server, eventually


@pytest.mark.contract("4.no-thread-waits.1", "4.no-thread-waits.2", "4.lost.1")
def test_every_thread_on_a_frozen_server_is_told(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """Sixteen threads on eight connections of a frozen server: each is told within its limits, and served again after."""
    timeout, query_timeout = 1.0, 1.0
    pool = make_pool(module_server.config({"connection_count": 8, "timeout": timeout, "query_timeout": 1000}))
    warm(pool, 8)
    with ticking() as gap, Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd:
        with frozen(module_server):
            since = time.monotonic()
            time.sleep(3.6)
            told = [each for each in list(crowd.all) if each.at > since]
        thawed = time.monotonic()
        crowd.goes_on()
        assert crowd.first_success_after(thawed) < 1.0
        assert gap() < 0.15
    assert len(told) >= 16
    assert {type(each.error) for each in told if each.error} <= {DBConnectionError, DBOfflineError, PoolTimeout}
    assert max(each.seconds for each in crowd.all) < timeout + query_timeout + 1.0
    assert full(pool, 8)


class Calls:
    """One call of each kind, which takes its connection, says that it is ready, and asks once the server is frozen."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.ready: list[int] = []
        self.frozen_at: list[float] = []

    def wait_for_the_freeze(self) -> None:
        self.ready.append(1)
        assert eventually(lambda: self.frozen_at, 10.0)

    def query(self, sql: str) -> None:
        self.wait_for_the_freeze()
        self.pool.query(sql)

    def handler(self, work: Callable[[Any], Any]) -> None:
        with self.pool.handler() as db:
            self.wait_for_the_freeze()
            work(db)

    def commit(self) -> None:
        with self.pool.transaction() as db:
            db.query("INSERT INTO web.limits VALUES (1)")
            self.wait_for_the_freeze()

    def connection(self) -> None:
        with self.pool.connection() as raw:
            cursor = raw.cursor()
            self.wait_for_the_freeze()
            cursor.execute("SELECT 1")

    def getconn(self) -> None:
        raw = self.pool.getconn()
        try:
            self.wait_for_the_freeze()
            raw.cursor().execute("SELECT 1")
        finally:
            self.pool.putconn(raw)

    def all(self) -> list[Callable[[], None]]:
        return [
            lambda: self.query("SELECT 1"),
            lambda: self.query("INSERT INTO web.limits VALUES (1)"),
            lambda: self.handler(lambda db: db.query("SELECT 1")),
            self.commit,
            lambda: self.handler(lambda db: list(db.stream("SELECT 1"))),
            lambda: self.handler(lambda db: db.executemany("INSERT INTO web.limits VALUES (%s)", [(1,)])),
            self.connection,
            self.getconn,
        ]


@pytest.mark.contract("4.no-thread-waits.1")
def test_each_kind_of_call_is_freed_from_a_frozen_server(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """query, handler, commit, stream, executemany, connection and getconn: all are freed at query_timeout plus one second."""
    module_server.sql("CREATE TABLE IF NOT EXISTS web.limits (a int); GRANT ALL ON web.limits TO web")
    pool = make_pool(module_server.config({"connection_count": 8, "query_timeout": 400}))
    warm(pool, 8)
    calls = Calls(pool)
    threads = [thread_of(call) for call in calls.all()]
    assert eventually(lambda: len(calls.ready) == 8)
    with frozen(module_server):
        calls.frozen_at.append(time.monotonic())
        told = [thread.result(5.0) for thread in threads]
    assert max(each.at for each in told) - calls.frozen_at[0] < 0.4 + 1.0
    kinds = [type(each.error) for each in told]
    assert kinds[:4] == [DBConnectionError, InDoubt, DBConnectionError, InDoubt]
    assert all(isinstance(each.error, psycopg2.OperationalError) for each in told)
    assert eventually(lambda: full(pool, 8), 3.0)


@pytest.mark.contract("4.no-thread-waits.1", "3.endpoint.query_timeout.1")
def test_without_a_limit_three_silent_probes_cut(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """``query_timeout`` 0 on a frozen server: after three silent probes every borrowed connection is cut."""
    pool = make_pool(module_server.config({"connection_count": 2, "query_timeout": 0}))
    warm(pool, 2)
    assert eventually(lambda: module_server.sessions("pgdbpool:monitor"))
    threads = [thread_of(pool.query, "SELECT pg_sleep(60)") for _ in range(2)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 2)
    with ticking() as gap, frozen(module_server):
        since = time.monotonic()
        told = [thread.result(8.0) for thread in threads]
        assert gap() < 0.15
    assert {type(each.error) for each in told} == {DBConnectionError}
    assert all(3.0 <= each.at - since <= 5.5 for each in told)
    assert "silent" in str(told[0].error)
    assert eventually(lambda: full(pool, 2), 3.0)


@pytest.mark.contract("4.no-thread-waits.1")
def test_without_a_limit_a_long_statement_is_left_alone(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """``query_timeout`` 0 on a server that answers its probes: a statement may take longer than three of them."""
    pool = make_pool(module_server.config({"connection_count": 1, "query_timeout": 0}))
    assert pool.query("SELECT 1 FROM pg_sleep(3.8)").scalar() == 1


@pytest.mark.contract("4.no-thread-waits.1")
def test_one_frozen_backend_costs_one_request(server: Server, make_pool: Callable[..., Any]) -> None:
    """One backend that stands still: its request is told in time, the others notice nothing, the slot is replaced."""
    pool = make_pool(connection_count=4, query_timeout=500)
    pid = warm(pool, 4)[0]
    with stopped(pid):
        with Crowd(lambda: pool.query("SELECT pg_sleep(0.002)"), threads=4) as crowd:
            assert eventually(lambda: crowd.errors, 3.0)
            crowd.goes_on()
        assert len(crowd.errors) == 1
        assert max(each.seconds for each in crowd.all if each.error) < 1.5
        assert max(each.seconds for each in crowd.all if not each.error) < 1.3  # the suspects' ping at most
        assert full(pool, 4)


@pytest.mark.contract("4.no-thread-waits.1", "3.group.query_timeout.1", "3.endpoint.query_timeout.1")
def test_a_slow_statement_is_cancelled_by_the_server(server: Server, make_pool: Callable[..., Any]) -> None:
    """Where the server lives its own statement_timeout comes first: QueryCanceled at query_timeout, and the session is kept."""
    pool = make_pool(server.config({"connection_count": 1, "query_timeout": 300}, query_timeout=60_000))
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    for call in (
        lambda: pool.query("SELECT pg_sleep(9)"),
        lambda: pool.run(lambda db: db.query("SELECT pg_sleep(9)")),
        lambda: pool.query("SELECT pg_sleep(9)", query_timeout=200),
    ):
        since = time.monotonic()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            call()
        assert 0.2 <= time.monotonic() - since < 0.8
    assert pool.query("SELECT pg_backend_pid()").scalar() == pid
    assert pool.query("SELECT 1 FROM pg_sleep(0.4)", query_timeout=2000).scalar() == 1


@pytest.mark.contract("4.no-thread-waits.1")
def test_a_reset_on_a_frozen_backend_ends(server: Server, make_pool: Callable[..., Any]) -> None:
    """A backend that freezes before its reset costs no slot: the reset has a limit too, and others are cleaned meanwhile."""
    pool = make_pool(connection_count=2, query_timeout=500)
    warm(pool, 2)
    with pool.handler() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        db.query("SET work_mem = '65kB'")
        os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: full(pool, 2), 4.0)
        assert pid not in warm(pool, 2)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.contract("4.no-thread-waits.1")
def test_on_connect_that_hangs_is_cut(server: Server, make_pool: Callable[..., Any]) -> None:
    """An ``on_connect`` whose statement hangs ends at its limit; the waiting thread at its own."""

    def hang(raw: Any) -> None:
        os.kill(raw.info.backend_pid, signal.SIGSTOP)
        hung.append(raw.info.backend_pid)
        raw.cursor().execute("SELECT 1")

    hung: list[int] = []
    pool = make_pool(connection_count=1, query_timeout=300, timeout=2.5, on_connect=hang)
    try:
        since = time.monotonic()
        with pytest.raises(PoolError):
            pool.query("SELECT 1")
        assert time.monotonic() - since < 3.5
        assert len(hung) >= 2
    finally:
        pool.close(timeout=0)
        assert eventually(lambda: pool.stats()["groups"]["web"]["opening"] == 0)
        for pid in hung:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.contract("4.no-thread-waits.2")
def test_check_of_a_frozen_server_ends(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """``check()`` of a frozen server reports it within a few seconds, raises nothing, and holds the GIL no moment."""
    pool = make_pool(module_server.config({"connection_count": 1}, connect_timeout=2, label="here"))
    assert pool.check()["here"]["ok"]
    with frozen(module_server), ticking() as gap:
        answer = thread_of(pool.check).result(6.0)
        assert gap() < 0.15
    assert answer.error is None
    assert not answer.value["here"]["ok"]
    assert answer.value["here"]["error"]


@pytest.mark.contract("4.no-thread-waits.1")
def test_a_frozen_server_makes_new_pools_wait_their_time_only(
    module_server: Server, make_pool: Callable[..., Any]
) -> None:
    """A pool made while the server stands still tells its users at ``timeout``, and serves once the server goes on."""
    with frozen(module_server):
        pool = make_pool(module_server.config({"connection_count": 2, "timeout": 0.5}, connect_timeout=2))
        told = outcomes(4, lambda _: pool.query("SELECT 1"))
        assert {type(each.error) for each in told} == {DBOfflineError}
        assert max(each.seconds for each in told) < 1.0
    assert eventually(lambda: full(pool, 2), 4.0)
