"""What a ``Handler`` refuses and survives: writes when read-only, lost connections, misuse; and its real connection."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import BOTH, TABLE, Wire, insert, kill, rows_of

pytestmark = pytest.mark.usefixtures("table")


# -- read_only ---------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.1")
@BOTH
def test_the_server_refuses_writes_when_read_only(make_pool: Any, server: Server, autocommit: bool) -> None:
    """A read-only handler's writes are refused by the server (25006), whichever way they take, and only its own."""
    pool = make_pool(connection_count=1, autocommit=autocommit)
    text = f"INSERT INTO {TABLE} (id) VALUES (1)"

    def in_block(db: Any) -> None:
        with db.transaction():
            db.query(text)

    ways = [
        lambda db: db.query(text),
        lambda db: db.executemany(f"INSERT INTO {TABLE} (id) VALUES (%s)", [(1,)]),
        lambda db: db.connection.cursor().execute(text),
        lambda db: list(db.stream("SELECT nextval('of_handler_limits_numbers')")),
        in_block,
    ]
    server.sql(
        "CREATE SEQUENCE IF NOT EXISTS web.of_handler_limits_numbers; GRANT ALL ON web.of_handler_limits_numbers TO web"
    )
    for way in ways:
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught, pool.handler(read_only=True) as db:
            assert db.query("SELECT 1").scalar() == 1
            way(db)
        assert caught.value.pgcode == "25006"
    assert rows_of(server, TABLE) == []
    with pool.handler() as db:
        insert(db, 1)
    assert rows_of(server, TABLE) == [1]


# -- the real connection -----------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.1")
@BOTH
def test_the_connection_is_in_the_handlers_transaction(make_pool: Any, server: Server, autocommit: bool) -> None:
    """What ``db.connection`` does is committed or undone with what the handler does."""
    pool = make_pool(autocommit=autocommit)
    with pytest.raises(ValueError), pool.handler() as db, db.transaction():
        db.connection.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (1)")
        raise ValueError
    with pool.handler() as db:
        with db.connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            cursor.execute(f"INSERT INTO {TABLE} (id) VALUES (2) RETURNING id")
            assert cursor.fetchone()["id"] == 2
        assert rows_of(server, TABLE) == ([2] if autocommit else [])
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.handler.1")
def test_what_the_connection_rolled_back_is_not_kept(make_pool: Any, server: Server) -> None:
    """``db.connection.rollback()`` undoes, or raises; it is never ignored, so that the clean exit would commit."""
    with make_pool(autocommit=False).handler() as db:
        db.connection.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (1)")
        try:
            db.connection.rollback()
        except psycopg2.Error:
            db.rollback()
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.commit-of-a.1")
def test_an_error_on_the_connection_fails_the_handlers_commit(make_pool: Any) -> None:
    """A transaction that failed by a cursor of ``db.connection`` cannot be committed either."""
    with make_pool(autocommit=False).handler() as db:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            db.connection.cursor().execute("SELECT 1/0")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            db.commit()


# -- a lost connection, and misuse -------------------------------------------------------------------------------------


@pytest.mark.contract("4.a-write-that.3", "4.a-write-that.5")
@pytest.mark.parametrize(("autocommit", "kind"), [(True, pgdbpool.InDoubt), (False, pgdbpool.DBConnectionError)])
def test_a_lost_write(make_pool: Any, wire: Wire, autocommit: bool, kind: type[Exception]) -> None:
    """A write whose answer is lost is in doubt with autocommit on; in a transaction nothing of it was kept."""
    pool = make_pool(wire.config({"connection_count": 1, "autocommit": autocommit}))
    wire.lose_answer("INSERT")
    with pytest.raises(pgdbpool.PoolError) as caught, pool.handler() as db:
        insert(db, 1)
    assert type(caught.value) is kind
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.a-write-that.3", "2.call.handler.2")
@pytest.mark.parametrize("explicit", [True, False])
def test_a_lost_commit(make_pool: Any, server: Server, wire: Wire, explicit: bool) -> None:
    """COMMIT whose answer is lost raises InDoubt, from ``commit()`` and from the clean exit."""
    pool = make_pool(wire.config({"connection_count": 1, "autocommit": False}))
    wire.lose_answer("COMMIT")
    with pytest.raises(pgdbpool.InDoubt), pool.handler() as db:
        insert(db, 1)
        if explicit:
            db.commit()
    assert eventually(lambda: rows_of(server, TABLE) == [1])


@pytest.mark.contract("4.a-write-that.3")
def test_a_lost_read_is_not_in_doubt(make_pool: Any, wire: Wire) -> None:
    """A read of a handler whose answer is lost raises DBConnectionError, and so does all that follows."""
    pool = make_pool(wire.config())
    wire.lose_answer("SELECT 42")
    with pytest.raises(pgdbpool.DBConnectionError), pool.handler() as db:
        with pytest.raises(pgdbpool.DBConnectionError):
            db.query("SELECT 42")
        insert(db, 1)


@pytest.mark.contract("4.a-write-that.5", "2.call.handler.2")
def test_a_loss_that_was_swallowed(make_pool: Any, server: Server) -> None:
    """With autocommit off a swallowed loss is raised by the clean exit: what was done is not there."""
    with pytest.raises(pgdbpool.DBConnectionError), make_pool(autocommit=False).handler() as db:
        insert(db, 1)
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
        with pytest.raises(pgdbpool.DBConnectionError):
            insert(db, 2)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.protected.2")
def test_use_outside_the_block(make_pool: Any, wire: Wire) -> None:
    """Before and after its block a handler raises, and nothing reaches the server; it may be entered again."""
    pool = make_pool(wire.config())
    db = pool.handler()
    for _ in range(2):
        for use in (lambda: db.query("SELECT 2"), db.commit, db.rollback, lambda: db.connection,
                    lambda: db.stream("SELECT 2"), lambda: db.executemany("SELECT %s", [(1,)])):  # fmt: skip
            with pytest.raises(pgdbpool.PoolError, match="block"):
                use()
        assert wire.queries() == []
        with db:
            assert db.query("SELECT 1").scalar() == 1
        wire.queries()


@pytest.mark.contract("4.protected.2")
def test_entered_twice(make_pool: Any) -> None:
    """Entering a handler within its own block raises; the block goes on."""
    pool = make_pool()
    with pool.handler() as db:
        with pytest.raises(pgdbpool.PoolError, match="twice"), db:
            pass
        assert db.query("SELECT 1").scalar() == 1
    assert pool.stats()["groups"]["web"]["in_use"] == 0


@pytest.mark.contract("4.protected.1", "4.protected.2")
@BOTH
def test_two_threads_at_once(make_pool: Any, wire: Wire, autocommit: bool) -> None:
    """A second thread on a handler that is at work raises, and never reaches the server; one after the other is fine."""
    pool = make_pool(wire.config({"connection_count": 1, "autocommit": autocommit}))
    with pool.handler() as db:
        thread = threading.Thread(target=lambda: db.query("SELECT pg_sleep(0.5)"))
        thread.start()
        assert eventually(lambda: any("pg_sleep(0.5)" in text for _, text in list(wire.sent)))
        for use in (lambda: insert(db, 1), db.commit, db.rollback, lambda: next(db.stream("SELECT 2"))):
            with pytest.raises(pgdbpool.PoolError, match="two threads"):
                use()
        thread.join()
        insert(db, 2)
    assert not [text for text in wire.queries() if "(1)" in text or "SELECT 2" in text]


@pytest.mark.contract("4.protected.2")
def test_leaving_the_block_while_another_thread_works(make_pool: Any, server: Server) -> None:
    """A connection that another thread still works on when the block ends is not handed to anyone else meanwhile."""
    pool = make_pool(connection_count=1)

    def work() -> None:
        with suppress(psycopg2.Error):
            db.query("SELECT pg_sleep(0.4)")

    with suppress(pgdbpool.PoolError), pool.handler() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        thread = threading.Thread(target=work)
        thread.start()
        assert eventually(lambda: [each for each in server.sessions("pgdbpool:web") if "pg_sleep" in each.query])
    assert pool.query("SELECT pg_backend_pid()").scalar() != pid or not thread.is_alive()
    thread.join()
