"""A connection is proven alive at its checkout, and leaves when it is old (contract §4)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBConnectionError, PoolError
from tests.life import Crowd, full, pids_of, warm
from tests.servers import Server, eventually

NAME = "pgdbpool:web"


def last_query(server: Server, pid: int) -> str:
    return next(each.query for each in server.sessions(NAME) if each.pid == pid)


@pytest.mark.contract("4.alive.1", "4.alive.2", "4.p1.1")
def test_all_sessions_terminated_while_idle_cost_no_error(server: Server, make_pool: Callable[..., Any]) -> None:
    """All backends ended while idle: no request fails, the first checkout takes less than 0.2 s, all capacity is there."""
    pool = make_pool(connection_count=8, application_name="alive-idle")
    old = warm(pool, 8)
    assert server.terminate("alive-idle") == 8
    since = time.monotonic()
    assert pool.query("SELECT 1").scalar() == 1
    assert time.monotonic() - since < 0.2
    assert full(pool, 8)
    assert not set(old) & set(pids_of(server, "alive-idle"))


@pytest.mark.contract("4.alive.1")
def test_handler_transaction_connection_and_getconn_skip_dead_connections(
    server: Server, make_pool: Callable[..., Any]
) -> None:
    """Every way in proves its connection: none of them meets a session that has ended."""
    pool = make_pool(connection_count=2, application_name="alive-ways")

    def through_getconn() -> Any:
        raw = pool.getconn()
        try:
            with raw.cursor() as cursor:
                cursor.execute("SELECT 1")
                return cursor.fetchone()[0]
        finally:
            pool.putconn(raw)

    def through_connection() -> Any:
        with pool.connection() as raw, raw.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]

    def through_block(block: Any) -> Any:
        with block as db:
            return db.query("SELECT 1").scalar()

    ways: list[Callable[[], Any]] = [
        through_getconn,
        through_connection,
        lambda: through_block(pool.handler()),
        lambda: through_block(pool.transaction()),
        lambda: pool.run(lambda db: db.query("SELECT 1").scalar()),
    ]
    for way in ways:
        warm(pool, 2)
        server.terminate("alive-ways")
        assert way() == 1


@pytest.mark.contract("4.alive.1")
def test_sessions_terminated_under_load_fail_one_request_each(server: Server, make_pool: Callable[..., Any]) -> None:
    """Backends ended under load: at most one error for each request in flight, of the right class; no slot is lost."""
    pool = make_pool(connection_count=8, application_name="alive-load")
    warm(pool, 8)
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd:
        for _ in range(2):
            server.terminate("alive-load")
            crowd.goes_on()
    assert len(crowd.errors) <= 2 * 8
    assert {type(error) for error in crowd.errors} <= {DBConnectionError}  # a read is never in doubt
    assert full(pool, 8)


@pytest.mark.contract("4.alive.2")
def test_one_dead_connection_makes_its_elders_suspect(server: Server, make_pool: Callable[..., Any]) -> None:
    """After one connection was found dead, each older one is asked by SQL once before it is lent; a younger one is not."""
    pool = make_pool(connection_count=3)
    pids = warm(pool, 3)
    with pool.handler() as db:  # the top of the stack
        victim = db.query("SELECT pg_backend_pid()").scalar()
    elder = [pid for pid in pids if pid != victim]
    assert "SELECT 1" not in {last_query(server, pid) for pid in elder}
    server.sql("SELECT pg_terminate_backend(%s, 5000)", (victim,))
    with pool.handler(), pool.handler(), pool.handler():
        assert {last_query(server, pid) for pid in elder} == {"SELECT 1"}
        (younger,) = set(pids_of(server, NAME)) - set(elder)
        assert last_query(server, younger) == ""
    warm(pool, 3)
    with pool.handler(), pool.handler(), pool.handler():  # proven: not asked a second time
        assert "SELECT 1" not in {last_query(server, pid) for pid in elder}


@pytest.mark.contract("4.alive.1")
def test_a_frozen_elder_is_not_lent(server: Server, make_pool: Callable[..., Any]) -> None:
    """A suspect that does not answer is replaced; the request that met it gets a good one, and no error."""
    pool = make_pool(connection_count=3, query_timeout=3000)
    dead, _, frozen = warm(pool, 3)  # the first of them is lent first
    os.kill(frozen, signal.SIGSTOP)
    try:
        server.sql("SELECT pg_terminate_backend(%s, 5000)", (dead,))
        order = warm(pool, 3)
        assert len(order) == 3
        assert frozen not in order
        assert dead not in order
    finally:
        os.kill(frozen, signal.SIGCONT)


@pytest.mark.contract("4.alive.1")
def test_a_checkout_costs_no_round_trip(server: Server, make_pool: Callable[..., Any]) -> None:
    """By default a fresh connection is lent without a word to the server, again and again."""
    pool = make_pool(connection_count=1)
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    for _ in range(10):
        with pool.handler():
            assert last_query(server, pid) == "SELECT pg_backend_pid()"


@pytest.mark.contract("4.alive.1", "3.group.validate.1")
def test_validate_always_asks_at_every_checkout(server: Server, make_pool: Callable[..., Any]) -> None:
    """With ``validate: always`` each checkout asks the server, so that even a silently frozen one is noticed."""
    pool = make_pool(connection_count=2, validate="always")
    pids = warm(pool, 2)
    with pool.handler(), pool.handler():
        assert {last_query(server, pid) for pid in pids} == {"SELECT 1"}
    os.kill(pids[-1], signal.SIGSTOP)
    try:
        assert pool.query("SELECT pg_backend_pid()").scalar() != pids[-1]
    finally:
        os.kill(pids[-1], signal.SIGCONT)


@pytest.mark.contract("3.group.validate.1")
def test_validate_never_does_not_look(server: Server, make_pool: Callable[..., Any]) -> None:
    """With ``validate: never`` a dead connection is found by the request that uses it, and is replaced then."""
    pool = make_pool(connection_count=2, validate="never", application_name="alive-never")
    warm(pool, 2)
    server.terminate("alive-never")
    with pytest.raises(DBConnectionError):
        pool.query("SELECT 1")
    assert full(pool, 2)


@pytest.mark.contract("4.alive.1", "3.group.validate.1")
def test_idle_longer_than_ping_after_is_asked(server: Server, make_pool: Callable[..., Any]) -> None:
    """A connection idle for longer than ``ping_after`` is asked by SQL, one idle for less is not."""
    pool = make_pool(connection_count=1, ping_after=0.3)
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    with pool.handler():
        assert last_query(server, pid) == "SELECT pg_backend_pid()"
    time.sleep(0.35)
    with pool.handler():
        assert last_query(server, pid) == "SELECT 1"


@pytest.mark.contract("4.alive.1")
@pytest.mark.parametrize("count", [1, 3000])
def test_a_notification_is_no_hang_up(server: Server, make_pool: Callable[..., Any], count: int) -> None:
    """NOTIFYs that arrive on idle connections, however many, cost neither the connection nor an error."""
    pool = make_pool(connection_count=2, on_connect=lambda raw: raw.cursor().execute("LISTEN news"))
    pids = warm(pool, 2)
    server.sql("SELECT pg_notify('news', n::text) FROM generate_series(1, %s) AS n", (count,))
    assert set(warm(pool, 2)) == set(pids)
    server.sql("NOTIFY news, 'the last'")
    server.sql("SELECT pg_terminate_backend(%s, 5000)", (pids[0],))  # what comes after a NOTIFY is still seen
    assert pids[0] not in warm(pool, 2)


@pytest.mark.contract("4.alive.1", "4.lost.1")
def test_an_idle_session_that_the_server_ends_is_no_error(server: Server, make_pool: Callable[..., Any]) -> None:
    """``idle_session_timeout``, by which the server ends sessions itself, is never seen by a request."""
    pool = make_pool(connection_count=3, settings={"idle_session_timeout": 100}, application_name="alive-idle-timeout")
    warm(pool, 3)
    assert eventually(lambda: not pids_of(server, "alive-idle-timeout"))
    assert [pool.query("SELECT 1").scalar() for _ in range(5)] == [1] * 5


@pytest.mark.contract("3.group.max_idle.1", "3.group.min_connections.1")
def test_idle_connections_retire_down_to_the_minimum(server: Server, make_pool: Callable[..., Any]) -> None:
    """Connections unused for ``max_idle`` are closed, and ``min_connections`` of them stay open."""
    pool = make_pool(connection_count=5, min_connections=2, max_idle=0.3)
    old = warm(pool, 5)
    assert eventually(lambda: len(pids_of(server, NAME)) == 2)
    time.sleep(1.2)  # two more looks of the watch
    left = pids_of(server, NAME)
    assert len(left) == 2
    assert set(left) <= set(old)
    assert full(pool, 5)


@pytest.mark.contract("3.group.max_idle.1", "3.group.min_connections.1")
def test_old_connections_are_replaced(server: Server, make_pool: Callable[..., Any]) -> None:
    """No connection lives longer than ``max_lifetime``, also one in steady use; the minimum is kept, no request fails."""
    pool = make_pool(connection_count=3, min_connections=3, max_lifetime=1)
    old = warm(pool, 3)
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.002)"), threads=2) as crowd:
        assert eventually(lambda: len(pids := pids_of(server, NAME)) == 3 and not set(pids) & set(old), 4.0)
    assert crowd.errors == []


@pytest.mark.contract("4.alive.1")
def test_the_minimum_comes_back_without_a_request(server: Server, make_pool: Callable[..., Any]) -> None:
    """A request that finds dead connections has the pool fill up to its minimum again in the background."""
    pool = make_pool(connection_count=4, min_connections=3, application_name="alive-minimum")
    assert eventually(lambda: len(pids_of(server, "alive-minimum")) == 3)
    server.terminate("alive-minimum")
    pool.query("SELECT 1")
    assert eventually(lambda: len(pids_of(server, "alive-minimum")) == 3)


@pytest.mark.contract("4.alive.1")
def test_a_connection_closed_by_its_user_is_replaced(make_pool: Callable[..., Any]) -> None:
    """Closing a borrowed connection costs no slot, and condemns no other connection."""
    pool = make_pool(connection_count=2)
    pids = warm(pool, 2)
    with pool.connection() as raw:
        closed = raw.info.backend_pid
        raw.close()
    raw = pool.getconn()
    gone = raw.info.backend_pid
    pool.putconn(raw, close=True)
    assert len({closed, gone}) == 2
    assert full(pool, 2)
    assert closed not in warm(pool, 2)
    assert set(pids) == {closed, gone}


def test_a_descriptor_number_used_again_deceives_nobody(server: Server, make_pool: Callable[..., Any]) -> None:
    """After sessions died, their descriptors' numbers belong to files of the application, which the pool leaves alone."""
    pool = make_pool(connection_count=4, application_name="alive-numbers")
    for _ in range(2):
        warm(pool, 4)
        server.terminate("alive-numbers")
        pipes = [os.pipe() for _ in range(8)]
        try:
            assert full(pool, 4)
            for reader, writer in pipes:
                os.write(writer, b"mine")
                assert os.read(reader, 10) == b"mine"
        finally:
            for number in [each for pair in pipes for each in pair]:
                os.close(number)


def test_an_error_class_of_the_pool_is_psycopg2s_too(server: Server, make_pool: Callable[..., Any]) -> None:
    """Code that catches psycopg2.OperationalError today goes on to catch a lost connection."""
    pool = make_pool(connection_count=1, application_name="alive-class")
    with pool.handler() as db:
        db.query("SELECT 1")
        server.terminate("alive-class")
        with pytest.raises(psycopg2.OperationalError) as caught:
            db.query("SELECT 1")
    assert isinstance(caught.value, PoolError)
