"""The module's functions, and the default pool that they work on."""

# ruff: noqa: PT012  (what its end raises)

from __future__ import annotations

import inspect
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import TABLE, rows_of

NAMES = "query transaction run connection getconn putconn stats explain check close closeall".split()

pytestmark = pytest.mark.usefixtures("table")


@pytest.fixture(autouse=True)
def no_default_pool(make_pool: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins as a new process does, without a default pool; what it makes is closed."""
    from pgdbpool.engine import current

    monkeypatch.setattr(current, "_pool", None)
    yield
    if current._pool is not None:
        current._pool.close(1)
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "pgdbpool-close"])


# -- before init -------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p1.1")
@pytest.mark.parametrize(
    "use",
    [
        lambda: pgdbpool.query("SELECT 1"),
        lambda: pgdbpool.Handler("web"),
        lambda: pgdbpool.transaction(),
        lambda: pgdbpool.run(print),
        lambda: pgdbpool.connection(),
        lambda: pgdbpool.getconn(),
        lambda: pgdbpool.putconn(None),
        lambda: pgdbpool.stats(),
        lambda: pgdbpool.explain(),
        lambda: pgdbpool.check(),
    ],
)
def test_before_init(use: Any) -> None:
    """Before ``init`` every function raises PoolClosed and says what is missing."""
    with pytest.raises(pgdbpool.PoolClosed, match=r"init"):
        use()


@pytest.mark.contract("2.p1.1")
@pytest.mark.parametrize("name", NAMES)
def test_everything_exists_twice(name: str) -> None:
    """Each function of the module takes what the method of its name takes."""
    function, method = inspect.signature(getattr(pgdbpool, name)), inspect.signature(getattr(pgdbpool.Pool, name))
    assert list(function.parameters.values()) == list(method.parameters.values())[1:]


@pytest.mark.contract("2.p1.1", "2.call.handler.1")
def test_handlers_of_both_kinds() -> None:
    """``Handler`` takes what ``pool.handler`` takes."""
    public = lambda call: [each for each in inspect.signature(call).parameters.values() if each.name[0] != "_"]  # noqa: E731
    assert public(pgdbpool.Handler) == [each for each in public(pgdbpool.Pool.handler) if each.name != "self"]


# -- init --------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p1.1", "2.call.init.1", "1.p1.1")
def test_the_functions_work_on_the_default_pool(server: Server) -> None:
    """After ``init`` every function works on the pool that it returned."""
    pool = pgdbpool.init(server.config())
    assert isinstance(pool, pgdbpool.Pool)
    insert = f"INSERT INTO {TABLE} (id) VALUES (%s)"
    pgdbpool.query(insert, (1,))
    with pgdbpool.Handler("web") as db:
        db.query(insert, (2,))
    with pgdbpool.transaction() as db:
        pgdbpool.query(insert, (3,))
        assert rows_of(server, TABLE) == [1, 2]
    pgdbpool.run(lambda db, number: db.query(insert, (number,)), 4)
    with pgdbpool.connection() as conn:
        conn.cursor().execute(insert, (5,))
    conn = pgdbpool.getconn("key")
    conn.cursor().execute(insert, (6,))
    conn.commit()
    pgdbpool.putconn(conn, "key")
    assert rows_of(server, TABLE) == [1, 2, 3, 4, 5, 6]
    assert pgdbpool.stats()["groups"]["web"]["checkouts"] == pool.stats()["groups"]["web"]["checkouts"] == 6
    assert pgdbpool.explain(2) == pool.explain(2)
    assert next(iter(pgdbpool.check().values()))["ok"] is True
    pgdbpool.close()
    with pytest.raises(pgdbpool.PoolClosed):
        pgdbpool.query("SELECT 1")
    pgdbpool.closeall()


@pytest.mark.contract("2.call.init.2")
def test_init_again(server: Server) -> None:
    """The new pool takes over at once; a block of the old one ends in peace, then the old one is closed."""
    old = pgdbpool.init(server.config())
    with pgdbpool.transaction() as db:
        db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
        began = time.monotonic()
        new = pgdbpool.init(server.config({"application_name": "pgdbpool:new"}))
        assert time.monotonic() - began < 1
        shown = lambda: pgdbpool.query("SHOW application_name").scalar()  # noqa: E731
        with ThreadPoolExecutor(1) as other:
            assert other.submit(shown).result() == "pgdbpool:new"
        assert shown() == "pgdbpool:web"  # in its transaction this thread stays with the old one
        assert eventually(lambda: old.stats()["closed"])
        db.query(f"INSERT INTO {TABLE} (id) VALUES (2)")
    assert rows_of(server, TABLE) == [1, 2]
    with pytest.raises(pgdbpool.PoolClosed):
        old.query("SELECT 1")
    assert new.query("SELECT 1").scalar() == pgdbpool.query("SELECT 1").scalar() == 1
    assert eventually(lambda: server.sessions("pgdbpool:web") == [])


@pytest.mark.contract("2.call.init.2")
@pytest.mark.parametrize("broken", [{"db": {}, "groups": {}}, None, {"db": {"prot": 1}, "groups": {"a": {}}}])
def test_a_wrong_configuration_changes_nothing(server: Server, broken: Any) -> None:
    """``init`` with a wrong configuration raises, and the pool that was there goes on."""
    pool = pgdbpool.init(server.config())
    with pytest.raises(pgdbpool.ConfigError):
        pgdbpool.init(broken)
    assert pgdbpool.query("SELECT 1").scalar() == pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.call.init.3")
def test_wait(server: Server) -> None:
    """``wait`` returns when every group has its minimum, and at least one connection where that is zero."""
    groups = {"a": {"connection_count": 4, "min_connections": 3}, "b": {"connection_count": 2, "min_connections": 0}}
    pool = pgdbpool.init({**server.config(), "groups": groups}, wait=5)
    idle = {name: figures["idle"] for name, figures in pool.stats()["groups"].items()}
    assert idle["a"] >= 3
    assert idle["b"] >= 1


@pytest.mark.contract("2.call.init.3")
@pytest.mark.parametrize("wrong", [{"pass": "wrong one"}, {"port": None}])
def test_wait_in_vain(server: Server, wrong: dict[str, Any]) -> None:
    """``wait`` raises PoolTimeout in time, with the last connect error in it; the pool that was there stays, no other."""
    pool = pgdbpool.init(server.config())
    with socket.socket() as bound:  # a port where nobody listens
        bound.bind(("127.0.0.1", 0))
        wrong = {key: bound.getsockname()[1] if value is None else value for key, value in wrong.items()}
        began = time.monotonic()
        with pytest.raises(pgdbpool.PoolTimeout) as caught:
            pgdbpool.init(server.config({"application_name": "pgdbpool:vain"}, **wrong), wait=0.4)
        assert time.monotonic() - began < 1.5
    assert str(caught.value.__cause__).split(":")[-1].strip().split("\n")[0] in " ".join(str(caught.value).split())
    assert "wrong one" not in str(caught.value)
    assert pgdbpool.query("SELECT 1").scalar() == pool.query("SELECT 1").scalar() == 1
    assert eventually(
        lambda: not [each for each in threading.enumerate() if "open" in each.name and "vain" in each.name]
    )


@pytest.mark.contract("2.call.init.1")
def test_without_wait_it_returns_at_once() -> None:
    """Without ``wait`` a server that is away does not hold up ``init``; using it tells what is wrong."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        began = time.monotonic()
        pgdbpool.init(
            {"db": {"host": "127.0.0.1", "port": bound.getsockname()[1]}, "groups": {"web": {"connection_count": 1}}}
        )
        assert time.monotonic() - began < 0.5
        with pytest.raises(pgdbpool.DBOfflineError):
            pgdbpool.query("SELECT 1", timeout=0.2)


@pytest.mark.contract("2.call.init.1")
def test_threads_that_init_at_once(server: Server) -> None:
    """Several threads in ``init`` at once leave one open pool, the default one."""
    pools: list[Any] = []
    threads = [threading.Thread(target=lambda: pools.append(pgdbpool.init(server.config()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually(lambda: sum(not pool.stats()["closed"] for pool in pools) == 1)
    assert pgdbpool.query("SELECT 1").scalar() == 1


# -- pools -------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p1.2")
def test_a_pool_is_a_context_manager(server: Server) -> None:
    """``with Pool(config)`` closes it at the end, also after an exception, which passes."""
    with pytest.raises(ValueError, match="mine"), pgdbpool.Pool(server.config()) as pool:
        assert pool.query("SELECT 1").scalar() == 1
        raise ValueError("mine")
    with pytest.raises(pgdbpool.PoolClosed):
        pool.query("SELECT 1")
    assert eventually(lambda: server.sessions("pgdbpool%") == [])


@pytest.mark.contract("2.p1.2")
def test_pools_side_by_side(make_pool: Any) -> None:
    """Several pools live side by side; closing one is nothing to the other."""
    one, other = make_pool(application_name="pgdbpool:one"), make_pool(application_name="pgdbpool:other")
    with one.handler() as db, other.handler() as theirs:
        assert db.query("SHOW application_name").scalar() == "pgdbpool:one"
        assert theirs.query("SHOW application_name").scalar() == "pgdbpool:other"
    one.close()
    assert other.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.p1.2", "2.call.close.1")
@pytest.mark.parametrize("used", [True, False])
def test_pools_that_live_for_a_moment(server: Server, used: bool) -> None:
    """A pool that is closed while it still connects leaves no session and no thread behind."""
    for _ in range(15):
        with pgdbpool.Pool(server.config()) as pool:
            if used:
                pool.query("SELECT 1")
    assert eventually(lambda: server.sessions("pgdbpool%") == [])
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("pgdbpool")], 15)


@pytest.mark.contract("2.call.close.1")
def test_close_waits_for_the_borrowed(make_pool: Any, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """``close`` refuses new work, lets a block end within ``timeout``, and shuts and names what did not."""
    pool, begun, end = make_pool(connection_count=2), threading.Event(), threading.Event()

    def block() -> None:
        with pool.transaction() as db:
            db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
            begun.set()
            end.wait(10)

    thread = threading.Thread(target=block)
    thread.start()
    assert begun.wait(5)
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert eventually(lambda: pool.stats()["closed"])
    with pytest.raises(pgdbpool.PoolClosed):
        pool.query("SELECT 1")
    end.set()
    thread.join()
    closing.join(2)
    assert not closing.is_alive()
    assert rows_of(server, TABLE) == [1]

    other = make_pool()
    with caplog.at_level(logging.WARNING), pytest.raises(psycopg2.Error), other.handler() as db:
        db.query("SELECT 1")
        began = time.monotonic()
        other.close(timeout=0.2)
        assert 0.19 < time.monotonic() - began < 1
        db.query("SELECT 1")
    assert f"{__file__}:" in caplog.text


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p3.3")
def test_a_result_outlives_its_pool(server: Server) -> None:
    """A result is complete in memory: it can be read when the connection, and the pool, are gone."""
    with pgdbpool.Pool(server.config()) as pool:
        result = pool.query("SELECT n, 'x' AS name FROM generate_series(1, 1000) AS n")
    assert [row["n"] for row in result] == list(range(1, 1001))


@pytest.mark.contract("2.p3.1")
def test_a_result_reads_like_a_cursor(make_pool: Any, server: Server) -> None:
    """What ``Result`` shares with a cursor gives what psycopg2's cursor gives."""
    pool = make_pool()
    with pool.connection() as conn, conn.cursor() as cursor:
        for text in ("SELECT n, 'x' AS name FROM generate_series(1, 7) AS n", "SELECT 1 WHERE false", "SELECT"):
            cursor.execute(text)
            result = pool.query(text)
            assert (result.rowcount, result.statusmessage) == (cursor.rowcount, cursor.statusmessage)
            assert result.description == cursor.description
            assert result.columns == tuple(column.name for column in cursor.description)
            assert len(result) == cursor.rowcount
            for fetch in ("fetchone", "fetchmany"):
                assert getattr(result, fetch)() == getattr(cursor, fetch)()
            assert result.fetchmany(2) == cursor.fetchmany(2)
            assert next(iter(result), None) == cursor.fetchone()
            assert result.fetchall() == cursor.fetchall()
            assert (result.fetchone(), result.fetchmany(), result.fetchall()) == (None, [], [])


@pytest.mark.contract("2.p3.1")
def test_a_result_without_rows(make_pool: Any) -> None:
    """Fetching from a statement without rows raises psycopg2.ProgrammingError, in every way there is."""
    result = make_pool().query(f"INSERT INTO {TABLE} (id) VALUES (1), (2)")
    assert (result.rowcount, result.statusmessage, result.description, result.columns) == (2, "INSERT 0 2", None, ())
    for fetch in (result.fetchone, result.fetchmany, result.fetchall, lambda: list(result), lambda: next(result),
                  result.one, result.one_or_none, result.scalar):  # fmt: skip
        with pytest.raises(psycopg2.ProgrammingError):
            fetch()


@pytest.mark.contract("2.p3.1")
def test_one_row(make_pool: Any) -> None:
    """``one``, ``one_or_none`` and ``scalar`` give the only row, whatever was fetched before, or say how many there are."""
    pool = make_pool()
    one = pool.query("SELECT 1 AS a, 2 AS b")
    assert one.fetchall() == [(1, 2)]
    assert (one.one(), one.one_or_none(), one.scalar()) == ((1, 2), (1, 2), 1)
    none = pool.query("SELECT 1 WHERE false")
    assert none.one_or_none() is None
    many = pool.query("SELECT generate_series(1, 3)")
    for fetch, kind in ((none.one, pgdbpool.NoRow), (none.scalar, pgdbpool.NoRow), (many.one, pgdbpool.TooManyRows),
                        (many.one_or_none, pgdbpool.TooManyRows), (many.scalar, pgdbpool.TooManyRows)):  # fmt: skip
        with pytest.raises(kind):
            fetch()


@pytest.mark.contract("2.p3.2")
def test_rows(make_pool: Any) -> None:
    """A row is a tuple addressed by position and by name; of equal names the first wins."""
    row = make_pool().query('SELECT 1 AS a, 2 AS a, 3 AS "keys", NULL AS n, 5 AS " 0"').one()
    assert isinstance(row, tuple)
    assert row == (1, 2, 3, None, 5)
    assert hash(row) == hash((1, 2, 3, None, 5))
    assert (row[0], row[-1], row[1:3], row["a"], row["keys"], row["n"], row[" 0"]) == (1, 5, (2, 3), 1, 3, None, 5)
    assert (list(row.keys()), dict(row)["a"], len(dict(row))) == (["a", "a", "keys", "n", " 0"], 1, 4)
    assert list(row.items())[:2] == [("a", 1), ("a", 2)]
    assert (row.get("a"), row.get("n", 7), row.get("x"), row.get("x", 7)) == (1, None, None, 7)
    for key, kind in (("x", KeyError), (9, IndexError), (-6, IndexError), (None, TypeError)):
        with pytest.raises(kind):
            row[key]
