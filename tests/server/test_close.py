"""The end of a pool: ``close()``, and the interpreter's exit (contract §2 ``close``)."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import PoolClosed, PoolError
from tests.life import outcome, python, thread_of, ticking, warm
from tests.servers import PASSWORD, Server, eventually

NAME = "pgdbpool:web"


def gone(server: Server, seconds: float = 2.0) -> bool:
    return bool(eventually(lambda: not server.sessions("pgdbpool:%"), seconds))


@pytest.mark.contract("2.call.close.1")
def test_an_idle_pool_closes_at_once(server: Server, make_pool: Callable[..., Any]) -> None:
    """Nothing borrowed: ``close`` returns at once, every session ends, nothing works any more, closing again is no error."""
    pool = make_pool(connection_count=4)
    warm(pool, 4)
    since = time.monotonic()
    pool.close()
    assert time.monotonic() - since < 0.5
    assert gone(server)
    for call in (
        lambda: pool.query("SELECT 1"),
        lambda: pool.handler().__enter__(),
        lambda: pool.transaction().__enter__(),
        lambda: pool.connection().__enter__(),
        pool.getconn,
        lambda: pool.run(lambda db: None),
    ):
        assert type(outcome(call).error) is PoolClosed
    pool.close()
    pool.closeall()


@pytest.mark.contract("2.call.close.1")
def test_borrowed_connections_have_time_to_come_back(server: Server, make_pool: Callable[..., Any]) -> None:
    """What is borrowed goes on working while ``close`` waits, which returns as soon as the last one is back; nothing is cut."""
    pool = make_pool(connection_count=2)
    taken, done = threading.Event(), threading.Event()

    def work() -> Any:
        with pool.transaction() as db:
            db.query("SELECT 1")
            taken.set()
            done.wait(5)
            return db.query("SELECT 'committed'").scalar()

    working = thread_of(work)
    assert taken.wait(5)
    closing = thread_of(pool.close, 5)
    assert eventually(lambda: pool.stats()["closed"])
    done.set()
    assert working.result().value == "committed"
    assert closing.result(1.0).error is None
    assert gone(server)


@pytest.mark.contract("2.call.close.1")
def test_what_does_not_come_back_is_cut_and_its_holder_named(
    server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """After ``timeout`` the sockets of what is still borrowed are shut: a running statement fails; the log says who held it."""
    pool = make_pool(connection_count=2, query_timeout=0)
    running = thread_of(pool.query, "SELECT pg_sleep(60)")
    with pool.handler() as db:
        db.query("SELECT 1")
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 2)
        since = time.monotonic()
        with caplog.at_level(logging.WARNING, "pgdbpool"):
            pool.close(timeout=0.4)
        assert 0.4 <= time.monotonic() - since < 1.0
        assert isinstance(running.result(1.0).error, PoolError)
        with pytest.raises(PoolError):
            db.query("SELECT 1")
    lines = [each.getMessage() for each in caplog.records]
    assert len(lines) == 2
    assert any("test_what_does_not_come_back" in line for line in lines)
    assert all("test_close.py" in line or "life.py" in line for line in lines)
    assert gone(server, 4.0)  # client_connection_check_interval ends the sleeping one


@pytest.mark.contract("2.call.close.1")
def test_a_reset_under_way_does_not_outlive_the_pool(server: Server, make_pool: Callable[..., Any]) -> None:
    """Connections that are just being reset or opened when the pool closes end with it."""
    for _ in range(10):
        pool = make_pool(connection_count=4)
        warm(pool, 3)
        for _ in range(3):
            pool.query("SELECT set_config('custom.a', '1', false)")
        asking = thread_of(lambda pool=pool: warm(pool, 4))
        pool.close(timeout=1)
        asking.result(2.0)
    assert gone(server)


@pytest.mark.contract("2.call.close.1")
def test_a_pool_on_a_frozen_server_closes(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """A frozen server holds ``close`` up for its ``timeout`` and no longer; the GIL is free, the borrowers are told."""
    pool = make_pool(module_server.config({"connection_count": 3, "query_timeout": 0}))
    warm(pool, 3)
    time.sleep(1.1)  # the monitor has its session
    module_server.freeze()
    try:
        asking = thread_of(pool.query, "SELECT 1")
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 1)
        time.sleep(1.0)  # a probe is under way
        with ticking() as gap:
            since = time.monotonic()
            closing = thread_of(pool.close, 0.5).result(5.0)
            assert closing.error is None
            assert closing.at - since < 1.0
            assert gap() < 0.15
        assert isinstance(asking.result(1.0).error, PoolError)
    finally:
        module_server.thaw()


@pytest.mark.contract("2.call.close.1")
def test_closing_twice_at_once(make_pool: Callable[..., Any]) -> None:
    """Two threads that close one pool at once both return, and the pool is closed then."""
    pool = make_pool(connection_count=2)
    with pool.handler():
        threads = [thread_of(pool.close, 0.3) for _ in range(2)]
        assert [thread.result(2.0).error for thread in threads] == [None, None]
    assert pool.stats()["closed"]


@pytest.mark.contract("2.call.close.1")
def test_a_pool_that_never_connected_closes(server: Server, make_pool: Callable[..., Any]) -> None:
    """Closing a pool whose server is unreachable, or that was just made, takes no time and raises nothing."""
    for config in (server.config({}, port=1), server.config()):
        pool = make_pool(config)
        since = time.monotonic()
        pool.close()
        assert time.monotonic() - since < 1.0
    assert gone(server)


@pytest.mark.contract("2.call.init.2")
def test_init_again_closes_the_old_pool_gracefully(server: Server) -> None:
    """The new pool takes over at once; what is borrowed from the old one finishes; then the old one's sessions are gone."""
    first = pgdbpool.init(server.config({"application_name": "close-first"}))
    try:
        with pgdbpool.Handler() as db:
            db.query("SELECT 1")
            since = time.monotonic()
            pgdbpool.init(server.config({"application_name": "close-second"}))
            assert time.monotonic() - since < 0.5
            assert pgdbpool.query("SHOW application_name").scalar() == "close-second"
            assert db.query("SHOW application_name").scalar() == "close-first"
        assert eventually(lambda: not server.sessions("close-first"), 2.0)
        assert type(outcome(first.query, "SELECT 1").error) is PoolClosed
    finally:
        pgdbpool.close()
    assert eventually(lambda: not server.sessions("close-second"), 2.0)
    with pytest.raises(PoolClosed):
        pgdbpool.query("SELECT 1")


EXIT = """
import sys, json, threading, time, pgdbpool
from contextlib import suppress
config, mode = json.loads(sys.argv[1]), sys.argv[2]
def ask(*args, **kwargs):
    with suppress(pgdbpool.PoolError):
        pgdbpool.query(*args, **kwargs)
pool = pgdbpool.init(config, wait=5)
if mode == "borrowed":
    kept = pgdbpool.Handler(); kept.__enter__().query("SELECT 1")
    conn = pgdbpool.getconn(); conn.cursor().execute("SELECT 1")
if mode in ("running", "frozen"):
    time.sleep(1.2)
    threading.Thread(target=ask, args=("SELECT pg_sleep(60)",), daemon=True).start()
    pgdbpool.getconn()
    while pool.stats()["groups"]["web"]["in_use"] < 2: time.sleep(0.01)
if mode == "waiting":
    held = [pgdbpool.getconn() for _ in range(4)]
    threading.Thread(target=ask, args=("SELECT 1",), kwargs={"timeout": 60}, daemon=True).start()
    while not pool.stats()["groups"]["web"]["waiting"]: time.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
if mode == "raise":
    raise SystemExit(3)
"""


@pytest.mark.contract("2.call.close.2")
@pytest.mark.parametrize("mode", ["idle", "borrowed", "waiting", "frozen", "raise"])
def test_the_interpreter_exits_within_a_second(module_server: Server, mode: str) -> None:
    """The interpreter's exit closes the pool by itself within 1 s, also with a frozen server, and leaves no session."""
    config = module_server.config({"application_name": "close-exit", "query_timeout": 0})
    process = python(EXIT, json.dumps(config), mode)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        if mode == "frozen":
            module_server.freeze()
        since = time.monotonic()
        _, error = process.communicate("\n", timeout=10)
        took = time.monotonic() - since
    finally:
        module_server.thaw()
        process.kill()
    assert took < 1.0 + 0.3  # the rest of the interpreter's exit
    assert process.returncode == (3 if mode == "raise" else 0)
    assert "Traceback" not in error
    assert "Exception ignored" not in error
    assert PASSWORD not in error
    assert eventually(lambda: not module_server.sessions("close-exit"), 4.0)


@pytest.mark.contract("2.call.close.2")
def test_a_killed_process_leaves_no_session(module_server: Server) -> None:
    """A process that is killed in the middle of a statement leaves no session: the server checks every two seconds."""
    config = module_server.config({"application_name": "close-killed", "query_timeout": 0})
    process = python(EXIT, json.dumps(config), "running")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert eventually(lambda: not module_server.sessions("close-killed"), 4.0)


def test_a_pool_that_is_dropped_goes_away(server: Server) -> None:
    """A pool that nobody refers to any more may be closed by hand or not: it breaks nothing, and the process goes on."""
    import gc

    pool = pgdbpool.Pool(server.config({"application_name": "close-dropped"}))
    assert pool.query("SELECT 1").scalar() == 1
    with pool:
        pass
    del pool
    gc.collect()
    assert eventually(lambda: not server.sessions("close-dropped"), 2.0)


def test_closing_does_not_touch_other_pools(make_pool: Callable[..., Any]) -> None:
    """Pools stand side by side: closing one leaves the other's borrowed and idle connections alone."""
    one, other = make_pool(connection_count=2), make_pool(connection_count=2)
    with other.handler() as db:
        db.query("SELECT 1")
        one.query("SELECT 1")
        one.close()
        assert db.query("SELECT 1").scalar() == 1
    assert other.query("SELECT 1").scalar() == 1
    with pytest.raises(psycopg2.OperationalError):
        one.query("SELECT 1")
