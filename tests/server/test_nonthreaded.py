"""``type: non-threaded``: the same pool without a thread of its own (contract §3 and §4)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBConnectionError, DBOfflineError, NestedCheckout, PoolClosed, PoolError
from tests.life import full, in_child, python, warm
from tests.servers import Server, eventually

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

NAME = "pgdbpool:web"
LEFT = "SELECT current_setting('custom.mine', true), (SELECT count(*)::int FROM pg_listening_channels())"


def single(server: Server, group: dict[str, Any] | None = None, **endpoint: Any) -> dict[str, Any]:
    return {"type": "non-threaded", **server.config(group, **endpoint)}


@pytest.mark.contract("3.p2.1")
def test_it_starts_no_thread(server: Server, make_pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way in works, a soiled session is reset, and no thread is ever started."""

    def forbidden(thread: threading.Thread) -> None:
        raise AssertionError(f"{thread.name} started")

    monkeypatch.setattr(threading.Thread, "start", forbidden)
    before = threading.enumerate()
    pool = make_pool(single(server))
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    with pool.handler() as db:
        db.query("SET custom.mine = 'yes'")
        db.query("LISTEN news")
    assert tuple(pool.query(LEFT).one()) in ((None, 0), ("", 0))
    with pool.transaction() as db:
        assert db.query("SELECT 2").scalar() == 2
    assert pool.run(lambda db: db.query("SELECT 3").scalar()) == 3
    with pool.connection() as raw:
        raw.cursor().execute("SET custom.mine = 'yes'")
    raw = pool.getconn()
    raw.cursor().execute("SET custom.mine = 'yes'")
    raw.commit()
    pool.putconn(raw)
    assert tuple(pool.query(LEFT).one()) in ((None, 0), ("", 0))
    assert pool.query("SELECT pg_backend_pid()").scalar() == pid
    assert pool.check()
    assert full(pool, 4)
    assert threading.enumerate() == before
    pool.close()
    assert eventually(lambda: not server.sessions("pgdbpool:%"))


@pytest.mark.contract("3.p2.1", "4.alive.1", "4.alive.2", "4.lost.1")
def test_dead_sessions_are_replaced_in_the_caller(server: Server, make_pool: Callable[..., Any]) -> None:
    """All sessions terminated while idle: no error, full capacity; one that dies in use costs its request only."""
    pool = make_pool(single(server, {"application_name": "single-dead"}))
    warm(pool, 4)
    server.terminate("single-dead")
    assert pool.query("SELECT 1").scalar() == 1
    assert full(pool, 4)
    with pool.handler() as db:
        db.query("SELECT 1")
        server.terminate("single-dead")
        with pytest.raises(DBConnectionError):
            db.query("SELECT 1")
    assert full(pool, 4)


@pytest.mark.contract("4.a-thread.1", "3.group.connection_count.1")
def test_more_than_all_is_nested(server: Server, make_pool: Callable[..., Any]) -> None:
    """Its only thread holds whatever is out: asking for one more is NestedCheckout at once."""
    pool = make_pool(single(server, {"connection_count": 2, "timeout": 10}))
    with pool.handler(), pool.connection():
        since = time.monotonic()
        with pytest.raises(NestedCheckout):
            pool.query("SELECT 1")
        assert time.monotonic() - since < 0.2
    assert full(pool, 2)


@pytest.mark.contract("4.waiting.2")
def test_failures_are_told_as_by_the_threaded_pool(server: Server, make_pool: Callable[..., Any]) -> None:
    """A permanent failure at once, a server that is away at ``timeout``; the pool is made all the same."""
    wrong = make_pool(single(server, {"timeout": 10}, **{"pass": "quite wrong"}))
    for _ in range(3):
        since = time.monotonic()
        with pytest.raises(DBOfflineError, match="password authentication failed") as caught:
            wrong.query("SELECT 1")
        assert time.monotonic() - since < 1.5
        assert "quite wrong" not in str(caught.value)
    away = make_pool(single(server, {"timeout": 0.5}, port=1))
    since = time.monotonic()
    with pytest.raises(DBOfflineError, match="refused"):
        away.query("SELECT 1")
    assert 0.4 <= time.monotonic() - since < 1.0


@pytest.mark.contract("4.lost.1")
def test_a_server_that_comes_back_serves_at_once(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """After a restart the next request is served; after a longer absence within a second of its return."""
    pool = make_pool(single(module_server, {"timeout": 0.5}))
    warm(pool, 4)
    module_server.restart("fast")
    assert pool.query("SELECT 1").scalar() == 1
    warm(pool, 4)
    module_server.stop("immediate")
    try:
        for _ in range(4):
            with pytest.raises(DBOfflineError):
                pool.query("SELECT 1")
    finally:
        module_server.start()
    since = time.monotonic()
    assert pool.query("SELECT 1", timeout=3).scalar() == 1
    assert time.monotonic() - since < 1.0
    assert full(pool, 4)


@pytest.mark.contract("3.group.max_idle.1", "3.group.min_connections.1")
def test_idle_and_old_connections_leave(server: Server, make_pool: Callable[..., Any]) -> None:
    """``max_idle`` and ``max_lifetime`` hold here too, at the next use of the pool; the minimum stays."""
    pool = make_pool(single(server, {"max_idle": 0.3, "min_connections": 1}))
    warm(pool, 4)
    time.sleep(0.4)
    assert eventually(lambda: pool.query("SELECT 1") and len(server.sessions(NAME)) == 1, 2.0)
    pool.close()
    old = make_pool(single(server, {"max_lifetime": 0.5, "connection_count": 1}))
    pid = old.query("SELECT pg_backend_pid()").scalar()
    assert eventually(lambda: old.query("SELECT pg_backend_pid()").scalar() != pid, 2.0)


@pytest.mark.contract("4.no-thread-waits.3", "3.endpoint.query_timeout.1")
def test_limits(server: Server, make_pool: Callable[..., Any]) -> None:
    """The server's own statement_timeout is set; ``explain()`` says that TCP's limits are the bound for a silent server."""
    pool = make_pool(single(server, {"query_timeout": 200}))
    since = time.monotonic()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        pool.query("SELECT pg_sleep(5)")
    assert time.monotonic() - since < 0.7
    text = pool.explain()
    assert "TCP" in text
    assert "30 s" in text or "15 s" in text


@pytest.mark.contract("3.group.on_connect.1", "4.given-back.1")
def test_on_connect_and_settings(server: Server, make_pool: Callable[..., Any]) -> None:
    """``on_connect`` is called once per new connection, and what it set survives a reset."""
    calls = []

    def prepare(raw: Any) -> None:
        calls.append(1)
        raw.cursor().execute("SET work_mem = '128kB'")

    pool = make_pool(single(server, {"connection_count": 1, "on_connect": prepare, "settings": {"timezone": "UTC"}}))
    with pool.handler() as db:
        db.query("SET work_mem = '65kB'")
        db.query("SET timezone = 'Asia/Kolkata'")
    row = pool.query("SELECT current_setting('work_mem'), current_setting('timezone')").one()
    assert tuple(row) == ("128kB", "UTC")
    assert calls == [1]


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_fork(make_pool: Callable[..., Any], server: Server) -> None:
    """A child has an empty pool that works; what was borrowed raises there; the parent's sessions go on."""
    pool = make_pool(single(server, {"connection_count": 2}))
    ours = set(warm(pool, 2))

    def child() -> list[int]:
        with pytest.raises(PoolError):
            db.query("SELECT 1")
        pids = warm(pool, 2)
        pool.close()
        return pids

    with pool.handler() as db:
        db.query("SELECT 1")
        assert not set(in_child(child)) & ours
        assert db.query("SELECT 1").scalar() == 1
    assert set(warm(pool, 2)) == ours


@pytest.mark.contract("2.call.close.1", "2.call.close.2")
def test_close_and_exit(server: Server, make_pool: Callable[..., Any]) -> None:
    """``close`` ends every session, also the borrowed one; the interpreter's exit does the same by itself."""
    pool = make_pool(single(server))
    with pool.handler() as db:
        db.query("SELECT 1")
        pool.close(timeout=0.1)
        with pytest.raises(PoolError):
            db.query("SELECT 1")
    with pytest.raises(PoolClosed):
        pool.query("SELECT 1")
    assert eventually(lambda: not server.sessions("pgdbpool:%"))
    script = """
import sys, json, pgdbpool
pgdbpool.init(json.loads(sys.argv[1]))
kept = pgdbpool.Handler(); kept.__enter__().query("SELECT 1")
pgdbpool.getconn()
print(pgdbpool.query("SELECT 'good'").scalar())
"""
    process = python(script, json.dumps(single(server, {"application_name": "single-exit"})))
    out, error = process.communicate(timeout=10)
    assert (out, process.returncode) == ("good\n", 0)
    assert error.count("closed while a connection was borrowed") == len(error.splitlines()) == 2
    assert eventually(lambda: not server.sessions("single-exit"), 2.0)


def test_a_handler_dropped_without_leaving(server: Server, make_pool: Callable[..., Any]) -> None:
    """A handler that was entered by hand and forgotten costs no slot for ever."""
    pool = make_pool(single(server, {"connection_count": 1, "timeout": 1}))
    pool.handler().__enter__().query("SET custom.mine = 'yes'")
    assert not pool.query("SELECT current_setting('custom.mine', true)").scalar()


def test_errors_in_the_block(server: Server, make_pool: Callable[..., Any]) -> None:
    """Exceptions, SQL errors and misuse leave the one connection sound."""
    pool = make_pool(single(server, {"connection_count": 1}))
    for block in (pool.handler(), pool.transaction(), pool.connection()):
        with pytest.raises(ZeroDivisionError), block:
            raise ZeroDivisionError
    with pytest.raises(psycopg2.errors.DivisionByZero), pool.transaction() as tx:
        tx.query("SELECT 1/0")
    with pool.handler() as db:
        pass
    for call in (lambda: db.query("SELECT 1"), lambda: db.__exit__(None, None, None), db.commit):
        with pytest.raises(PoolError):
            call()
    assert full(pool, 1)
