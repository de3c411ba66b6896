"""``getconn``, ``putconn`` and ``closeall``: psycopg2's own pool, but waiting."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import TABLE, kill, rows_of

INSERT = f"INSERT INTO {TABLE} (id) VALUES (%s)"

pytestmark = pytest.mark.usefixtures("table")


@pytest.mark.contract("2.call.getconn.1")
@pytest.mark.parametrize(
    ("words", "autocommit"), [({}, False), ({"autocommit": False}, False), ({"autocommit": True}, True)]
)
def test_autocommit(make_pool: Any, server: Server, words: dict[str, Any], autocommit: bool) -> None:
    """It is not in autocommit unless the group says so explicitly."""
    pool = make_pool(**words)
    conn = pool.getconn()
    assert isinstance(conn, psycopg2.extensions.connection)
    assert conn.autocommit is autocommit
    conn.cursor().execute(INSERT, (1,))
    assert rows_of(server, TABLE) == ([1] if autocommit else [])
    pool.putconn(conn)


@pytest.mark.contract("2.call.getconn.1")
def test_putconn_rolls_back(make_pool: Any, server: Server) -> None:
    """What was committed is kept; what is still open when it is put back is undone, as psycopg2's pool does."""
    pool = make_pool(connection_count=1)
    conn = pool.getconn()
    conn.cursor().execute(INSERT, (1,))
    conn.commit()
    conn.cursor().execute(INSERT, (2,))
    pool.putconn(conn)
    assert rows_of(server, TABLE) == [1]
    pool.query(INSERT, (2,))


@pytest.mark.contract("2.call.getconn.1")
def test_two_are_two(make_pool: Any) -> None:
    """Without a key each call lends another connection, until it is put back."""
    pool = make_pool(connection_count=2)
    one, other = pool.getconn(), pool.getconn()
    assert one.info.backend_pid != other.info.backend_pid
    assert pool.stats()["groups"]["web"]["in_use"] == 2
    pool.putconn(one)
    pool.putconn(other)
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)


@pytest.mark.contract("2.call.getconn.1")
@pytest.mark.parametrize("by_key", [True, False])
def test_a_key(make_pool: Any, by_key: bool) -> None:
    """The same key gives the same connection until it is put back, with or without naming the key."""
    pool = make_pool()
    conn = pool.getconn("mine")
    assert pool.getconn("mine") is conn
    assert pool.getconn(key=("other", 1)) is not conn
    assert pool.stats()["groups"]["web"]["in_use"] == 2
    pool.putconn(pool.getconn(("other", 1)))
    pool.putconn(conn, "mine" if by_key else None)
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)
    again = pool.getconn("mine")
    pool.putconn(again, key="mine")


@pytest.mark.contract("2.call.getconn.1", "4.given-back.1")
def test_a_key_asked_for_twice(make_pool: Any) -> None:
    """What was done under the key before it was asked for again is reset as well when it is put back."""
    pool = make_pool(connection_count=1)
    conn = pool.getconn("mine")
    conn.cursor().execute("SET work_mem = '1MB'")
    conn.commit()
    assert pool.getconn("mine") is conn
    pool.putconn(conn)
    assert pool.query("SHOW work_mem").scalar() != "1MB"


@pytest.mark.contract("2.call.getconn.1")
def test_a_wrong_key(make_pool: Any) -> None:
    """Putting back under another key raises, and the connection stays lent."""
    pool = make_pool()
    conn = pool.getconn("mine")
    with pytest.raises(pgdbpool.PoolError):
        pool.putconn(conn, "other")
    conn.cursor().execute("SELECT 1")
    pool.putconn(conn, "mine")


@pytest.mark.contract("2.call.getconn.1", "2.p2.2")
def test_it_waits(make_pool: Any) -> None:
    """Unlike psycopg2's, an exhausted pool waits for ``timeout`` seconds; a connection put back ends the wait."""
    pool = make_pool(connection_count=1)
    conn, pids = pool.getconn(), []

    def other() -> None:
        mine = pool.getconn(timeout=5)
        pids.append(mine.info.backend_pid)
        pool.putconn(mine)

    thread = threading.Thread(target=other)
    thread.start()
    assert eventually(lambda: pool.stats()["groups"]["web"]["waiting"] == 1)
    pid = conn.info.backend_pid
    pool.putconn(conn)
    thread.join()
    assert pids == [pid]


@pytest.mark.contract("2.call.getconn.1")
def test_the_group(make_pool: Any, server: Server) -> None:
    """``group`` chooses the group; an unknown one raises."""
    pool = make_pool({**server.config(), "groups": {"a": {"connection_count": 1}, "b": {"connection_count": 1}}})
    conn = pool.getconn(group="b")
    assert conn.info.parameter_status("application_name") == "pgdbpool:b"
    pool.putconn(conn)
    with pytest.raises(pgdbpool.UnconfiguredGroupError):
        pool.getconn(group="c")


@pytest.mark.contract("2.call.getconn.1")
def test_close(make_pool: Any, server: Server) -> None:
    """``close=True`` closes the connection, and the pool makes another one."""
    pool = make_pool(connection_count=1)
    conn = pool.getconn()
    pid = conn.info.backend_pid
    pool.putconn(conn, close=True)
    assert conn.closed
    assert pool.query("SELECT pg_backend_pid()").scalar() != pid
    assert eventually(lambda: pid not in [each.pid for each in server.sessions()])


@pytest.mark.contract("4.protected.2")
def test_put_back_twice(make_pool: Any) -> None:
    """The second ``putconn`` raises, also when the connection is lent to somebody else by then, who keeps it."""
    pool = make_pool(connection_count=1)
    conn = pool.getconn()
    pool.putconn(conn)
    with pytest.raises(pgdbpool.PoolError, match="already"):
        pool.putconn(conn)
    with pool.connection() as again:
        assert again is conn
        with pytest.raises(pgdbpool.PoolError):
            pool.putconn(conn)
        again.cursor().execute("SELECT 1")


@pytest.mark.contract("4.protected.2")
def test_foreign_connections(make_pool: Any, server: Server) -> None:
    """A plain psycopg2 connection, another pool's, one of a handler and what is no connection at all are refused."""
    pool, other = make_pool(), make_pool()
    plain, theirs = psycopg2.connect(**server.dsn()), other.getconn()
    try:
        with pool.handler() as db:
            for conn in (plain, theirs, db.connection, None, "x"):
                with pytest.raises(pgdbpool.PoolError):
                    pool.putconn(conn)
        for conn in (plain, theirs):
            conn.cursor().execute("SELECT 1")
    finally:
        plain.close()
        other.putconn(theirs)


@pytest.mark.contract("4.protected.2", "4.protected.3")
def test_use_after_putconn(make_pool: Any) -> None:
    """After ``putconn`` the connection and its cursors raise."""
    pool = make_pool()
    conn = pool.getconn()
    cursor = conn.cursor()
    pool.putconn(conn)
    for use in (conn.commit, conn.cursor, lambda: cursor.execute("SELECT 1")):
        with pytest.raises(pgdbpool.PoolError, match="given back"):
            use()


@pytest.mark.contract("7.p1.6")
def test_psycopg2s_errors_pass_untouched(make_pool: Any) -> None:
    """What psycopg2 raises on it is psycopg2's own error."""
    pool = make_pool()
    conn = pool.getconn()
    with pytest.raises(psycopg2.errors.UndefinedTable) as caught:
        conn.cursor().execute("TABLE no_such_table")
    assert type(caught.value) is psycopg2.errors.UndefinedTable
    pool.putconn(conn)


@pytest.mark.contract("2.call.getconn.1", "4.lost.1")
def test_a_dead_one_is_put_back(make_pool: Any, server: Server) -> None:
    """A connection that died or was closed by its user can be put back, and is replaced."""
    pool = make_pool(connection_count=1)
    for end in (lambda conn: kill(server, conn.info.backend_pid), lambda conn: conn.close()):
        conn = pool.getconn()
        end(conn)
        pool.putconn(conn)
        assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.call.getconn.1")
def test_closeall(make_pool: Any, server: Server) -> None:
    """``closeall`` closes what is lent too, at once, as psycopg2's does; the pool then refuses, and may be closed again."""
    pool = make_pool()
    conn = pool.getconn()
    began = time.monotonic()
    pool.closeall()
    assert time.monotonic() - began < 2
    with pytest.raises(psycopg2.Error):
        conn.cursor().execute("SELECT 1")
    with pytest.raises(pgdbpool.PoolClosed):
        pool.getconn()
    pool.closeall()


@pytest.mark.contract("2.call.getconn.1")
def test_putconn_after_closeall(make_pool: Any) -> None:
    """What was lent when the pool was closed may still be put back."""
    pool = make_pool()
    conn = pool.getconn()
    pool.closeall()
    with suppress(pgdbpool.PoolError):  # psycopg2's own pool says that it is closed
        pool.putconn(conn)
    assert conn.closed
