"""Threads that die, misbehave or are interrupted: no slot is lost, nothing reaches the server (contract §4)."""

from __future__ import annotations

import ctypes
import gc
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBQueryError, PoolError
from tests.life import Outcome, full, outcome, outcomes, thread_of, warm
from tests.servers import Server, eventually

NAME = "pgdbpool:web"


class Interrupted(Exception):
    """What the tests throw into threads."""


def last_query(server: Server) -> str:
    return next(each.query for each in server.sessions(NAME))


def throw(thread: threading.Thread) -> None:
    """Raise ``Interrupted`` in that thread at its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))


def by_handler(pool: Any, kept: list[Any]) -> None:
    handler = pool.handler()
    handler.__enter__().query("SELECT 1")
    kept.append(handler)


def by_transaction(pool: Any, kept: list[Any]) -> None:
    transaction = pool.transaction()
    transaction.__enter__().query("CREATE TEMPORARY TABLE of_the_dead (a int)")
    kept.append(transaction)


def by_connection(pool: Any, kept: list[Any]) -> None:
    block = pool.connection()
    block.__enter__().cursor().execute("SELECT 1")
    kept.append(block)


def by_getconn(pool: Any, kept: list[Any]) -> None:
    raw = pool.getconn()
    raw.cursor().execute("SELECT 1")
    kept.append(raw)


TAKERS = [by_handler, by_transaction, by_connection, by_getconn]


def test_threads_that_die_holding_lose_no_slot(
    server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What threads held when they ended is taken back clean, and logged once with the place that took it."""
    pool = make_pool(connection_count=len(TAKERS))
    kept: list[Any] = []
    with caplog.at_level(logging.WARNING, "pgdbpool"):
        assert [each.error for each in outcomes(len(TAKERS), lambda number: TAKERS[number](pool, kept))] == [None] * 4
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0, 3.0)
    lines = [each.getMessage() for each in caplog.records if each.name.startswith("pgdbpool")]
    assert len(lines) == len(TAKERS)
    for take in TAKERS:
        assert sum("test_threads.py" in line and f"({take.__name__})" in line for line in lines) == 1
    assert full(pool, 4)
    assert server.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == [(0,)]
    kept.clear()
    gc.collect()
    assert full(pool, 4)


def test_what_dead_threads_held_is_of_no_use_to_others(make_pool: Callable[..., Any]) -> None:
    """Objects that threads left behind raise once their connections were taken back, also when somebody else has those."""
    pool = make_pool(connection_count=len(TAKERS))
    kept: list[Any] = []
    outcomes(len(TAKERS), lambda number: TAKERS[number](pool, kept))
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0, 3.0)
    with ExitStack() as stack:
        users = [stack.enter_context(pool.handler()) for _ in TAKERS]
        for user in users:
            user.query("SET custom.mine = 'yes'")
        for left in kept:
            _is_of_no_use(pool, left)
        assert {user.query("SELECT current_setting('custom.mine')").scalar() for user in users} == {"yes"}
    assert full(pool, 4)


def _is_of_no_use(pool: Any, left: Any) -> None:
    calls: list[Callable[[], Any]] = [lambda: left.__exit__(None, None, None)]
    if isinstance(left, psycopg2.extensions.connection):
        calls = [left.commit, lambda: left.cursor().execute("SELECT 1"), lambda: pool.putconn(left)]
    elif hasattr(left, "query"):
        calls.append(lambda: left.query("SELECT 1"))
    for call in calls:
        with pytest.raises(PoolError):
            call()


def test_a_handler_dropped_without_leaving_loses_no_slot(
    make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A handler whose block was entered by hand and then forgotten is taken back while its thread lives on, and logged."""
    pool = make_pool(connection_count=2)
    pool.handler().__enter__().query("SELECT 1")
    gc.collect()
    with caplog.at_level(logging.WARNING, "pgdbpool"):
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0, 3.0)
    assert full(pool, 2)
    assert any("dropped" in each.getMessage() and "test_threads.py" in each.getMessage() for each in caplog.records)


def test_a_generator_left_in_the_middle_gives_its_connection_back(make_pool: Callable[..., Any]) -> None:
    """A generator that holds a handler and is dropped gives the connection back at once."""
    pool = make_pool(connection_count=1)

    def rows() -> Any:
        with pool.handler() as db:
            yield from db.stream("SELECT generate_series(1, 100)", size=10)

    generator = rows()
    assert next(generator)[0] == 1
    del generator
    gc.collect()
    assert full(pool, 1)


def each_way(pool: Any) -> None:
    pool.query("SELECT 1")
    with pool.handler() as db:
        db.query("SELECT 2")
    with pool.transaction() as db:
        db.query("SELECT 3")
    with pool.connection() as raw:
        raw.cursor().execute("SELECT 4")


@pytest.mark.parametrize("lives_on", [False, True], ids=["thread ends", "thread lives on"])
def test_exceptions_at_random_points_lose_no_slot(make_pool: Callable[..., Any], lives_on: bool) -> None:
    """Exceptions thrown into threads at random points, three hundred in all: capacity is whole afterwards."""
    pool = make_pool(connection_count=4, timeout=3)
    warm(pool, 4)
    going, busy = [True], [True]

    def serve() -> None:
        while busy:
            try:
                while busy:
                    each_way(pool)
            except (Interrupted, psycopg2.Error):
                if not lives_on:
                    return

    def survivor() -> None:
        while busy:
            with suppress(Interrupted):
                serve()
        while going:  # it does nothing more, but lives
            with suppress(Interrupted):
                time.sleep(0.01)

    def start() -> thread_of:
        return thread_of(survivor if lives_on else serve)

    dice = random.Random(26)
    threads = [start() for _ in range(6)]
    for _ in range(300):
        number = dice.randrange(len(threads))
        if not threads[number].thread.is_alive():
            threads[number] = start()
        throw(threads[number].thread)
        time.sleep(dice.random() * 0.004)
    busy.clear()
    try:
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0, 3.0)
        assert full(pool, 4)
    finally:
        going.clear()
        for thread in threads:
            thread.thread.join(5)
    assert not any(thread.thread.is_alive() for thread in threads)


@pytest.mark.contract("3.group.hold_warning.1")
def test_a_long_hold_is_reported_once(make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """A hold longer than ``hold_warning`` is logged once, with the place that took the connection; a shorter one is not."""
    pool = make_pool(connection_count=2, hold_warning=0.3)
    quiet = make_pool(connection_count=1, hold_warning=0)
    with caplog.at_level(logging.WARNING, "pgdbpool"):
        with pool.handler() as db, quiet.handler():
            db.query("SELECT 1")
            assert eventually(lambda: caplog.records, 3.0)
            time.sleep(0.8)
            pool.query("SELECT 1")
        (record,) = caplog.records
    assert "test_threads.py" in record.getMessage()
    assert "test_a_long_hold_is_reported_once" in record.getMessage()


def stale_calls(pool: Any) -> tuple[list[Callable[[], Any]], Any, Any]:
    """Calls on objects whose blocks have ended; the connection, and a cursor of it."""
    with pool.handler() as db:
        rows = db.stream("SELECT generate_series(1, 9)", size=2)
        next(rows)
    with pool.handler() as other:
        inner = other.connection
        inner_cursor = inner.cursor()
    with pool.transaction() as tx:
        tx.query("SELECT 1")
    with pool.connection() as raw:
        cursor = raw.cursor()
        cursor.execute("SELECT 1")
    calls: list[Callable[[], Any]] = [
        lambda: db.query("SELECT 'stray'"),
        lambda: db.executemany("SELECT %s", [(1,)]),
        lambda: list(db.stream("SELECT 'stray'")),
        lambda: list(rows) and None,
        db.commit,
        db.rollback,
        lambda: db.transaction().__enter__(),
        lambda: db.connection,
        lambda: tx.query("SELECT 'stray'"),
        lambda: cursor.execute("SELECT 'stray'"),
        cursor.fetchone,
        lambda: inner_cursor.execute("SELECT 'stray'"),
        inner.rollback,
        raw.cursor,
        raw.commit,
        raw.rollback,
        raw.reset,
        raw.close,
        lambda: raw.set_session(readonly=True),
        lambda: setattr(raw, "autocommit", False),
        lambda: raw.set_client_encoding("LATIN1"),
        lambda: raw.__enter__(),
        raw.cancel,
        lambda: raw.lobject(),
        lambda: raw.set_isolation_level(3),
        raw.poll,
    ]
    return calls, raw, cursor


@pytest.mark.contract("4.protected.2")
def test_use_after_release_raises_and_reaches_nobody(server: Server, make_pool: Callable[..., Any]) -> None:
    """Handler, transaction, connection, cursor and iterator raise after their block, while somebody else has the session."""
    pool = make_pool(connection_count=1)
    calls, raw, cursor = stale_calls(pool)
    with pool.handler() as user:
        user.query("SELECT 'mine'")
        for number, call in enumerate(calls):
            assert isinstance(outcome(call).error, psycopg2.Error), number
            assert last_query(server) == "SELECT 'mine'", number
        assert user.query("SELECT 'ours'").scalar() == "ours"
    with pool.connection() as again:  # the same object, lent anew: the old cursor stays dead
        assert again is raw
        again.cursor().execute("SELECT 'mine'")
        with pytest.raises(PoolError):
            cursor.execute("SELECT 'stray'")
        with pytest.raises(PoolError):
            cursor.fetchone()
        assert last_query(server) == "SELECT 'mine'"


@pytest.mark.contract("4.protected.2")
def test_release_twice_and_foreign_release_raise(server: Server, make_pool: Callable[..., Any]) -> None:
    """Leaving a block twice, putting back twice, or putting back what was never lent raises and costs nobody a session."""
    pool = make_pool(connection_count=2)
    handler = pool.handler()
    with handler:
        pass
    with pytest.raises(PoolError):
        handler.__exit__(None, None, None)
    block = pool.connection()
    with block:
        pass
    with pytest.raises(PoolError):
        block.__exit__(None, None, None)
    raw = pool.getconn()
    pool.putconn(raw)
    with pytest.raises(PoolError):
        pool.putconn(raw)
    other = make_pool(connection_count=1)
    theirs = other.getconn()
    with pytest.raises(PoolError):
        pool.putconn(theirs)
    other.putconn(theirs)
    foreign = psycopg2.connect(**server.dsn(application_name="pgdbpool-foreign"))
    with pytest.raises(PoolError):
        pool.putconn(foreign)
    assert not foreign.closed
    foreign.close()
    with pool.connection() as inside, pytest.raises(PoolError):
        pool.putconn(inside)
    with pool.handler() as entered, pytest.raises(PoolError):
        entered.__enter__()
    assert full(pool, 2)


@pytest.mark.contract("4.protected.1", "4.protected.2")
def test_two_threads_on_one_handler(server: Server, make_pool: Callable[..., Any]) -> None:
    """While one thread's statement runs on a handler another thread's raises at once and is never sent."""
    pool = make_pool(connection_count=1)
    with pool.handler() as db:
        running = thread_of(db.query, "SELECT 1 FROM pg_sleep(0.4)")
        assert eventually(lambda: "pg_sleep" in last_query(server))
        since = time.monotonic()
        for call in (lambda: db.query("SELECT 'stray'"), db.commit, lambda: db.executemany("SELECT %s", [(1,)])):
            with pytest.raises(PoolError):
                call()
        assert time.monotonic() - since < 0.3
        assert "stray" not in last_query(server)
        assert running.result().value.scalar() == 1
        assert db.query("SELECT 2").scalar() == 2


@pytest.mark.contract("4.protected.2", "4.protected.3")
@pytest.mark.parametrize("way", ["connection", "getconn"])
def test_another_threads_use_of_a_connection_raises(server: Server, make_pool: Callable[..., Any], way: str) -> None:
    """``connection()`` and ``getconn()`` lend to one thread: another one's use raises and never reaches the server."""
    pool = make_pool(connection_count=1)
    block = pool.connection() if way == "connection" else None
    raw = block.__enter__() if block else pool.getconn()
    try:
        cursor = raw.cursor()
        cursor.execute("SELECT 'mine'")
        calls = [raw.commit, raw.cursor, raw.close, lambda: cursor.execute("SELECT 'stray'"), cursor.fetchone]
        told = [thread_of(call).result() for call in calls]
        assert [type(each.error) for each in told] == [PoolError] * len(calls)
        assert last_query(server) == "SELECT 'mine'"
        assert cursor.fetchone() == ("mine",)
    finally:
        block.__exit__(None, None, None) if block else pool.putconn(raw)
    assert full(pool, 1)


@pytest.mark.contract("4.protected.1")
def test_many_threads_on_one_handler_get_an_answer_or_an_error(make_pool: Callable[..., Any]) -> None:
    """Eight threads that misuse one handler: each call gives its own answer or PoolError, never somebody else's answer."""
    pool = make_pool(connection_count=1)

    def misuse(number: int) -> int:
        wrong = 0
        for _ in range(150):
            try:
                wrong += db.query("SELECT %s::int", (number,)).scalar() != number
            except PoolError:
                continue
        return wrong

    with pool.handler() as db:
        told: list[Outcome] = outcomes(8, misuse)
    assert [(each.value, each.error) for each in told] == [(0, None)] * 8
    assert full(pool, 1)


def test_an_exception_in_the_block_gives_back_and_rolls_back(make_pool: Callable[..., Any]) -> None:
    """The user's own exception passes through every kind of block untouched; the connection comes back clean."""
    pool = make_pool(connection_count=1, autocommit=False)

    def fail_in(block: Any) -> None:
        with block as it:
            statement = it.query if hasattr(it, "query") else it.cursor().execute
            statement("CREATE TABLE web.never_there (a int)")
            raise Interrupted

    for block in (pool.handler(), pool.transaction(), pool.connection()):
        assert type(outcome(fail_in, block).error) is Interrupted
        assert full(pool, 1)
    assert pool.query("SELECT to_regclass('web.never_there')").scalar() is None


def test_sql_errors_and_missing_parameters_cost_nothing(make_pool: Callable[..., Any]) -> None:
    """Syntax errors, a missing parameter, a value that cannot be adapted: one clear error each, on the same session."""
    pool = make_pool(connection_count=1)
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    for sql, params, kind in (
        ("SELEC 1", None, psycopg2.errors.SyntaxError),
        ("SELECT 1/0", None, psycopg2.errors.DivisionByZero),
        ("SELECT %s, %s", (1,), IndexError),
        ("SELECT %(a)s", {}, KeyError),
        ("SELECT %s", (object(),), psycopg2.ProgrammingError),
    ):
        for _ in range(3):
            with pytest.raises(DBQueryError) as caught:
                pool.query(sql, params)
            assert isinstance(caught.value, kind)
    assert pool.query("SELECT pg_backend_pid()").scalar() == pid
