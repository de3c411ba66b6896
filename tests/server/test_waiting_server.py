"""Waiting for a connection of a real server: who is served, and how a wait ends (contract §4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBOfflineError, NestedCheckout, PoolClosed, PoolTimeout, TooManyRequests
from tests.life import Crowd, full, outcomes, stopped, thread_of, ticking, warm
from tests.servers import PASSWORD, Server, eventually


@contextmanager
def held(pool: Any, count: int) -> Iterator[list[Any]]:
    """``count`` connections in the hands of another thread until the block ends."""
    taken, done, handlers = threading.Event(), threading.Event(), []

    def hold() -> None:
        with ExitStack() as stack:
            for _ in range(count):
                handlers.append(stack.enter_context(pool.handler()))
            taken.set()
            done.wait(30)

    holder = thread_of(hold)
    assert taken.wait(5)
    try:
        yield handlers
    finally:
        done.set()
        assert holder.result().error is None


def waiting(pool: Any) -> int:
    return int(pool.stats()["groups"]["web"]["waiting"])


def waits(pool: Any, count: int) -> bool:
    return waiting(pool) == count


@pytest.mark.contract("4.waiting.1")
def test_the_longest_waiting_thread_is_served_first(make_pool: Callable[..., Any]) -> None:
    """Connections go to waiting threads in the order in which they came, also when each of them has to be reset first."""
    pool = make_pool(connection_count=1)
    order: list[int] = []

    def ask(number: int) -> None:
        with pool.handler() as db:
            order.append(number)
            db.query(f"SET custom.number = {number}")

    with held(pool, 1):
        threads = []
        for number in range(8):
            threads.append(thread_of(ask, number))
            assert eventually(partial(waits, pool, number + 1))
    assert [thread.result().error for thread in threads] == [None] * 8
    assert order == list(range(8))


@pytest.mark.contract("4.waiting.1")
def test_nobody_overtakes_whoever_waits(make_pool: Callable[..., Any]) -> None:
    """With more threads than connections each thread gets its share: nobody takes a connection past the line."""
    pool = make_pool(connection_count=2)
    warm(pool, 2)
    counts = [0] * 8
    end = time.monotonic() + 1.0

    def ask(number: int) -> None:
        while time.monotonic() < end:
            pool.query("SELECT 1")
            counts[number] += 1

    assert [each.error for each in outcomes(8, ask)] == [None] * 8
    assert min(counts) >= 0.8 * max(counts) > 20


@pytest.mark.contract("4.waiting.2", "3.group.timeout.1")
def test_a_wait_ends_at_timeout_and_says_who_holds(make_pool: Callable[..., Any]) -> None:
    """PoolTimeout comes at ``timeout``, not before and not much later, and names what was waited for and who holds it."""
    pool = make_pool(connection_count=1, timeout=0.3)
    with held(pool, 1):
        for call in (
            lambda: pool.query("SELECT 1"),
            lambda: pool.handler().__enter__(),
            lambda: pool.transaction().__enter__(),
            lambda: pool.connection().__enter__(),
            pool.getconn,
            lambda: pool.run(lambda db: None),
        ):
            since = time.monotonic()
            with pytest.raises(PoolTimeout, match=r"'web'.*0\.3\d? s.*test_waiting_server\.py:\d+ \(hold\)") as caught:
                call()
            assert 0.3 <= time.monotonic() - since < 0.6
            assert PASSWORD not in str(caught.value)
        since = time.monotonic()
        with pytest.raises(PoolTimeout):
            pool.query("SELECT 1", timeout=0.05)
        assert time.monotonic() - since < 0.25
        with pytest.raises(PoolTimeout):
            pool.query("SELECT 1", timeout=0)
    assert pool.stats()["groups"]["web"]["timeouts"] == 8
    assert full(pool, 1)


@pytest.mark.contract("4.waiting.2")
def test_one_that_gave_up_takes_no_slot_with_it(make_pool: Callable[..., Any]) -> None:
    """Threads whose time runs out just when a connection comes back lose none, over many tries."""
    pool = make_pool(connection_count=2, timeout=0.02)
    warm(pool, 2)
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.006)"), threads=8) as crowd:
        time.sleep(1.0)
    assert {type(error) for error in crowd.errors} <= {PoolTimeout}
    assert crowd.errors
    assert full(pool, 2)


@pytest.mark.contract("4.waiting.2")
def test_close_tells_the_waiting_at_once(make_pool: Callable[..., Any]) -> None:
    """When the pool closes, whoever waits gets PoolClosed at once, not at his timeout."""
    pool = make_pool(connection_count=1, timeout=20)
    with held(pool, 1):
        threads = [thread_of(pool.query, "SELECT 1") for _ in range(5)]
        assert eventually(lambda: waiting(pool) == 5)
        since = time.monotonic()
        closing = thread_of(pool.close, 5)
        told = [thread.result(2.0) for thread in threads]
    assert {type(each.error) for each in told} == {PoolClosed}
    assert max(each.at for each in told) - since < 0.5
    assert closing.result().error is None
    with pytest.raises(PoolClosed):
        pool.query("SELECT 1")


@pytest.mark.contract("4.waiting.2", "3.group.max_waiting.1")
def test_more_than_max_waiting_are_turned_away_at_once(make_pool: Callable[..., Any]) -> None:
    """``max_waiting`` threads may wait; the next gets TooManyRequests at once, and those that wait are served."""
    pool = make_pool(connection_count=1, max_waiting=2)
    with held(pool, 1):
        threads = [thread_of(pool.query, "SELECT 1") for _ in range(2)]
        assert eventually(lambda: waiting(pool) == 2)
        since = time.monotonic()
        with pytest.raises(TooManyRequests):
            pool.query("SELECT 1")
        assert time.monotonic() - since < 0.2
    assert [thread.result().error for thread in threads] == [None, None]


@pytest.mark.contract("4.a-thread.1")
def test_a_thread_that_exhausted_its_group_is_told(make_pool: Callable[..., Any]) -> None:
    """Whoever holds all connections of a group gets NestedCheckout at once, whatever he asks with; others just wait."""
    pool = make_pool(connection_count=2, timeout=10)
    with pool.handler() as one, pool.connection():
        since = time.monotonic()
        for call in (lambda: pool.query("SELECT 1"), pool.getconn, lambda: pool.transaction().__enter__()):
            with pytest.raises(NestedCheckout, match="web"):
                call()
        assert time.monotonic() - since < 0.5
        other = thread_of(pool.query, "SELECT 1")
        assert eventually(lambda: waiting(pool) == 1)
        assert one.query("SELECT 2").scalar() == 2
    assert other.result().error is None
    with pool.handler():
        assert pool.query("SELECT 3").scalar() == 3  # there is another one


@pytest.mark.contract("4.a-thread.1")
def test_two_threads_that_hold_and_want_are_not_nested(make_pool: Callable[..., Any]) -> None:
    """Two threads that hold one connection each and want a second time out, and say so: neither exhausted the group alone."""
    pool = make_pool(connection_count=2, timeout=0.4)
    both = threading.Barrier(2)

    def greedy(_: int) -> None:
        with pool.handler():
            both.wait(5)
            pool.query("SELECT 1")

    told = outcomes(2, greedy)
    assert {type(each.error) for each in told if each.error} == {PoolTimeout}
    assert full(pool, 2)


@pytest.mark.contract("4.waiting.2")
def test_no_usable_server_is_offline_with_its_cause(server: Server, make_pool: Callable[..., Any]) -> None:
    """With nobody listening the wait ends at ``timeout`` by DBOfflineError, whose cause is the last connect error."""
    config = server.config({"timeout": 0.5}, port=1, label="nobody")
    pool = make_pool(config)
    since = time.monotonic()
    with pytest.raises(DBOfflineError, match="nobody") as caught:
        pool.query("SELECT 1")
    assert 0.5 <= time.monotonic() - since < 1.0
    assert isinstance(caught.value.__cause__, psycopg2.OperationalError)
    assert "refused" in str(caught.value.__cause__)
    assert "refused" in str(caught.value)
    assert pool.stats()["endpoints"]["nobody"]["state"] == "down"


@pytest.mark.contract("4.waiting.2", "4.lost.1")
def test_a_frozen_postmaster_stops_growth_only(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """With the postmaster alone stopped, open connections serve on, a wait for a new one ends at its limit, then it grows."""
    pool = make_pool(
        module_server.config({"connection_count": 4, "timeout": 0.6, "min_connections": 1}, connect_timeout=2)
    )
    warm(pool, 2)
    pid = int(module_server.cluster.pid)  # type: ignore[attr-defined]
    with stopped(pid), ticking() as gap:
        for _ in range(20):
            assert pool.query("SELECT 1").scalar() == 1
        with held(pool, 2):
            told = outcomes(4, lambda _: pool.query("SELECT 1"))
            assert {type(each.error) for each in told} == {PoolTimeout}
            assert max(each.seconds for each in told) < 1.0
        assert gap() < 0.15
        assert pool.query("SELECT 1").scalar() == 1
    assert eventually(lambda: full(pool, 4), 4.0)


@pytest.mark.contract("4.lost.1", "4.waiting.2")
def test_too_many_clients_wait_and_do_not_stampede(make_pool: Callable[..., Any], server: Server) -> None:
    """A server without free slots (53300) is no permanent failure: the pool serves from what it has, and grows later."""
    server.sql("ALTER ROLE web CONNECTION LIMIT 3")
    try:
        pool = make_pool(connection_count=6, timeout=1.0)
        assert eventually(lambda: warm(pool, 1))
        time.sleep(1.2)  # the monitor has its connection by now
        told = outcomes(8, lambda _: pool.query("SELECT pg_sleep(0.05)"))
        assert [each.error for each in told] == [None] * 8
        with pytest.raises((PoolTimeout, DBOfflineError), match="too many connections"):
            warm(pool, 6)
    finally:
        server.sql("ALTER ROLE web CONNECTION LIMIT -1")
    assert eventually(lambda: full(pool, 6), 3.0)
