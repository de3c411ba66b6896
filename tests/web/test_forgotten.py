"""What a request has not given back at its end is taken back (contract §6)."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool.wsgi import Middleware
from tests.life import thread_of
from tests.servers import Server, eventually
from tests.usage import TABLE, insert, rows_of
from tests.web.test_middleware import HEADERS, App, ask, responding

STATE = "SELECT set_config('forgotten.mark', 'left', false)"


def served(work: Callable[[], Any]) -> Any:
    return ask(Middleware(responding(work)))


def by_handler(pool: Any, kept: list[Any]) -> Any:
    db = pool.handler().__enter__()
    kept.append(db)
    insert(db, 1)
    db.query(STATE)
    return lambda: db.query("SELECT 1")


def by_transaction(pool: Any, kept: list[Any]) -> Any:
    block = pool.transaction()
    db = block.__enter__()
    kept.append(block)
    insert(db, 1)
    db.query(STATE)
    return lambda: db.query("SELECT 1")


def by_connection(pool: Any, kept: list[Any]) -> Any:
    block = pool.connection()
    conn = block.__enter__()
    kept.append(block)
    conn.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (1); {STATE}")
    return lambda: conn.cursor().execute("SELECT 1")


def by_getconn(pool: Any, kept: list[Any], key: Any = None) -> Any:
    conn = pool.getconn(key)
    kept.append(conn)
    conn.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (1); {STATE}")
    return lambda: conn.cursor().execute("SELECT 1")


def by_key(pool: Any, kept: list[Any]) -> Any:
    return by_getconn(pool, kept, "a key")


WAYS = {
    "handler": by_handler,
    "transaction": by_transaction,
    "connection": by_connection,
    "getconn": by_getconn,
    "getconn(key)": by_key,
}
each_way = pytest.mark.parametrize("way", WAYS)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "taken back" in each.getMessage()]


def is_clean(pool: Any) -> bool:
    """Whether the pool of one connection has it back as it was."""
    return bool(pool.query("SELECT coalesce(current_setting('forgotten.mark', true), '')").scalar() == "")


@pytest.mark.contract("6.middleware.1")
@each_way
def test_taken_back(make_pool: Any, server: Server, table: None, caplog: pytest.LogCaptureFixture, way: str) -> None:
    """Rolled back, reset and logged once with the place that took it; using it afterwards raises and sends nothing."""
    pool = make_pool(connection_count=1, autocommit=False)
    pid = pool.query("SELECT pg_backend_pid()").scalar()
    kept: list[Any] = []
    used: list[Callable[[], Any]] = []
    served(lambda: used.append(WAYS[way](pool, kept)))
    assert is_clean(pool)
    assert rows_of(server, TABLE) == []
    assert pool.query("SELECT pg_backend_pid()").scalar() == pid
    [message] = warnings_of(caplog)
    assert re.search(r"taken back: its request has ended; borrowed at .*test_forgotten\.py:\d+ \(by_\w+\)", message)
    with pytest.raises(pgdbpool.PoolError, match=r"taken back|given back"):
        used[0]()
    with pool.handler(), suppress(pgdbpool.PoolError):  # nor does it reach whoever has it next
        thread_of(used[0]).result()
    assert pool.query(f"SELECT count(*) FROM {TABLE}").scalar() == 0


@pytest.mark.contract("6.middleware.1")
@each_way
def test_the_next_request_is_served(make_pool: Any, table: None, way: str) -> None:
    """In the same thread, request after request, also where nobody dropped what was forgotten."""
    pool = make_pool(connection_count=1, timeout=3, autocommit=False)
    kept: list[Any] = []

    def forget() -> None:
        WAYS[way](pool, kept)

    for _ in range(5):
        assert served(forget).status == "200 OK"
        assert served(lambda: pool.query("SELECT 1").scalar()).body == b"1"
    with pool.transaction() as db:
        assert db.query("SELECT 1").scalar() == 1


@each_way
def test_leaving_it_later(make_pool: Any, server: Server, table: None, way: str) -> None:
    """Whoever leaves the block after all is told so, and disturbs nobody."""
    pool = make_pool(connection_count=1, autocommit=False)
    kept: list[Any] = []
    served(lambda: WAYS[way](pool, kept))
    with pool.transaction() as db:
        insert(db, 2)
        with pytest.raises(pgdbpool.PoolError):
            pool.putconn(kept[0]) if way.startswith("getconn") else kept[0].__exit__(None, None, None)
        pool.query(f"INSERT INTO {TABLE} (id) VALUES (3)")  # still joins the transaction
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [2, 3]


def test_dropped_in_the_request(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that nobody has any more is taken back at the request's end at the latest."""
    pool = make_pool(connection_count=1)

    def drop() -> None:
        pool.handler().__enter__()
        gc.collect()

    for _ in range(3):
        served(drop)
        assert pool.query("SELECT 1", timeout=2).scalar() == 1
    assert len(warnings_of(caplog)) == 3


@pytest.mark.contract("6.middleware.1")
def test_what_was_held_before(make_pool: Any, table: None, caplog: pytest.LogCaptureFixture) -> None:
    """What the thread held when the request began, it holds afterwards; so does what was given back in order."""
    pool = make_pool(connection_count=3, autocommit=False)

    def orderly() -> None:
        with pool.handler() as db:
            insert(db, 1)
        with pool.connection() as conn:
            conn.cursor().execute("SELECT 1")
        pool.putconn(pool.getconn())

    with pool.handler() as db:
        insert(db, 5)
        served(orderly)
        assert db.query(f"SELECT count(*) FROM {TABLE} WHERE id = 5").scalar() == 1
    assert pool.query(f"SELECT array_agg(id ORDER BY id) FROM {TABLE}").scalar() == [1, 5]
    assert warnings_of(caplog) == []


def test_handed_over_to_another_thread(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What another thread has taken over by its key is that one's."""
    pool = make_pool(connection_count=2)
    found: list[Any] = []
    going, over = threading.Event(), threading.Event()

    def worker() -> None:
        conn = pool.getconn("job")
        going.set()
        over.wait(10)
        with conn.cursor() as cursor:
            cursor.execute("SELECT 7")
            found.append(cursor.fetchone()[0])
        pool.putconn(conn, "job")

    def start() -> None:
        pool.getconn("job")
        threads.append(thread_of(worker))
        assert going.wait(10)

    threads: list[Any] = []
    served(start)
    over.set()
    assert threads[0].result().error is None
    assert (found, warnings_of(caplog)) == ([7], [])


def test_other_threads_of_the_application(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What they take is theirs."""
    pool = make_pool(connection_count=2)
    over = threading.Event()
    taken = threading.Event()

    def work() -> Any:
        with pool.handler() as db:
            taken.set()
            over.wait(10)
            return db.query("SELECT 1").scalar()

    threads: list[Any] = []

    def start() -> None:
        threads.append(thread_of(work))
        assert taken.wait(10)

    served(start)
    over.set()
    assert threads[0].result().value == 1
    assert warnings_of(caplog) == []


# -- when a request ends --------------------------------------------------------------------------------------------------


def streaming(pool: Any, *, ends: str = "") -> App:
    """An application that takes a connection, and another for each part of its body; it gives none back."""

    def parts() -> Iterator[bytes]:
        first = pool.getconn()
        for _ in range(2):
            pool.getconn()
            with first.cursor() as cursor:
                cursor.execute("SELECT 1")
                yield b"part"
        if ends == "raises":
            raise ZeroDivisionError

    class Parts:
        def __init__(self) -> None:
            self.parts = parts()

        def __iter__(self) -> Iterator[bytes]:
            return self.parts

        def close(self) -> None:
            if ends == "close raises":
                raise ZeroDivisionError

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [*HEADERS])
        return Parts()

    return app


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("ends", ["", "raises", "close raises"])
def test_a_streaming_body(make_pool: Any, caplog: pytest.LogCaptureFixture, ends: str) -> None:
    """They are its own until the body is closed, however that ends."""
    pool = make_pool(connection_count=3)
    for _ in range(2):
        with suppress(ZeroDivisionError):
            ask(Middleware(streaming(pool, ends=ends)))
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)
    assert len(warnings_of(caplog)) == 6


@pytest.mark.contract("6.middleware.1")
def test_a_client_that_goes(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A server that closes the body half-way: what was taken until then is taken back, each once."""
    pool = make_pool(connection_count=3)
    body = Middleware(streaming(pool))({}, lambda *said: lambda data: None)
    assert next(iter(body)) == b"part"
    assert pool.stats()["groups"]["web"]["in_use"] == 2
    for _ in range(2):
        body.close()  # type: ignore[attr-defined]
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)
    assert len(warnings_of(caplog)) == 2


@pytest.mark.parametrize("error", [ZeroDivisionError, pgdbpool.PoolTimeout("in vain"), SystemExit])
def test_an_application_that_raises(make_pool: Any, caplog: pytest.LogCaptureFixture, error: Any) -> None:
    """Its connections come back as well."""
    pool = make_pool(connection_count=1)
    kept: list[Any] = []

    def work() -> None:
        kept.append(pool.getconn())
        raise error

    with suppress(ZeroDivisionError, SystemExit):
        served(work)
    assert pool.query("SELECT 1", timeout=2).scalar() == 1
    assert len(warnings_of(caplog)) == 1


def test_nested_middlewares(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What was taken within the inner one ends with that, what was taken around it with the outer one."""
    pool = make_pool(connection_count=2)
    kept: list[Any] = []
    in_use: list[int] = []

    def count(expected: int) -> None:
        eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == expected)
        in_use.append(pool.stats()["groups"]["web"]["in_use"])

    def between(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kept.append(pool.getconn())
        body = Middleware(responding(lambda: kept.append(pool.getconn())))(environ, start_response)
        count(1)
        with kept[0].cursor() as cursor:
            cursor.execute("SELECT 1")
        return body

    ask(Middleware(between))
    count(0)
    assert in_use == [1, 0]
    assert len(warnings_of(caplog)) == 2


def test_a_query_under_way_in_another_thread(make_pool: Any, server: Server) -> None:
    """A connection that is at work when its request ends is cut, and another one takes its place."""
    pool = make_pool(connection_count=1, query_timeout=20000)
    threads: list[Any] = []

    def start() -> None:
        db = pool.handler().__enter__()
        threads.append((db, thread_of(lambda: db.query("SELECT pg_sleep(15)"))))
        assert eventually(lambda: any("pg_sleep(15)" in each.query for each in server.sessions("pgdbpool:web")))

    served(start)
    assert pool.query("SELECT 1", timeout=4).scalar() == 1
    assert isinstance(threads[0][1].result(5).error, psycopg2.Error)
    assert eventually(lambda: all(each.state == "idle" for each in server.sessions("pgdbpool:web")))


@pytest.mark.parametrize("kind", ["closed", "non-threaded"])
def test_pools_of_other_kinds(make_pool: Any, server: Server, kind: str) -> None:
    """One without threads resets it at once; one that was closed meanwhile closes it."""
    pool = make_pool(
        {**server.config({"connection_count": 1}), "type": "non-threaded" if kind != "closed" else "threaded"}
    )
    kept: list[Any] = []

    def work() -> None:
        kept.append(pool.getconn())
        kept[0].cursor().execute(STATE)
        if kind == "closed":
            pool.close(0)

    served(work)
    if kind == "closed":
        assert eventually(lambda: not server.sessions("pgdbpool:web"))
    else:
        assert is_clean(pool)
