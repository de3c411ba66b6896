"""``stream``: rows of a query that does not fit into memory."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import psycopg2.errors
import pytest
from psycopg2 import sql

import pgdbpool
from tests.servers import Server
from tests.usage import BOTH, TABLE, Wire, insert, kill, rows_of

COUNT = "SELECT n, 'row no. ' || n AS name FROM generate_series(1, %s) AS n"

pytestmark = pytest.mark.usefixtures("table")


@pytest.mark.contract("2.p3.3", "2.call.handler.1")
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 25])
@pytest.mark.parametrize("way", ["handler", "transaction"])
def test_every_row_in_order(make_pool: Any, way: str, count: int) -> None:
    """All rows come once and in order, whatever their number in relation to ``size``; they are rows as of ``query``."""
    with getattr(make_pool(), way)() as db:
        rows = list(db.stream(COUNT, (count,), size=10))
        assert [row["n"] for row in rows] == list(range(1, count + 1))
        assert [dict(row) for row in rows[:1]] == [{"n": 1, "name": "row no. 1"}][:count]
        assert db.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.p3.3")
def test_bounded_memory(make_pool: Any) -> None:
    """A hundred thousand rows pass through memory that holds but a page of them."""
    with make_pool().handler() as db:
        tracemalloc.start()
        try:
            total = sum(row["n"] for row in db.stream(COUNT, (100_000,), size=1000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert total == 100_000 * 100_001 // 2
    assert peak < 2_000_000


@pytest.mark.contract("2.call.handler.1")
def test_rows_are_fetched_by_pages(make_pool: Any, wire: Wire) -> None:
    """The first row costs one page, not the whole result; BEGIN travels with the declaration."""
    pool = make_pool(wire.config())
    with pool.handler() as db:
        rows = db.stream(COUNT, (1000,), size=10)
        next(rows)
        sent = wire.queries()
        assert [text.split()[0] for text in sent] == ["BEGIN;", "FETCH"]
        for _ in range(10):
            next(rows)
        assert len(wire.queries()) == 1


@pytest.mark.contract("2.p2.3", "2.call.handler.1")
@pytest.mark.parametrize("form", [str, str.encode, sql.SQL])
def test_forms_of_text(make_pool: Any, form: Any) -> None:
    """The text may be str, bytes or Composable, end in a semicolon or a comment, and hold a ``%`` without parameters."""
    with make_pool().handler() as db:
        for end in ("", ";", " -- end", "; -- end"):
            assert [row[0] for row in db.stream(form("SELECT 7 % 4" + end))] == [3]
        assert [row[0] for row in db.stream(form("VALUES (%(a)s)"), {"a": 5})] == [5]


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("size", [0, -1])
def test_an_impossible_size(make_pool: Any, size: int) -> None:
    """A ``size`` below 1 raises at once."""
    with make_pool().handler() as db, pytest.raises(ValueError, match="size"):
        db.stream("SELECT 1", size=size)


# -- its own transaction -----------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.1")
def test_in_autocommit_it_ends_what_it_began(make_pool: Any, server: Server) -> None:
    """In autocommit a stream has a transaction of its own, which ends with its last row."""
    with make_pool().handler() as db:
        assert len(list(db.stream(COUNT, (25,), size=10))) == 25
        assert [
            each.state for each in server.sessions("pgdbpool:web") if each.pid == db.connection.info.backend_pid
        ] == ["idle"]
        insert(db, 1)
        assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("taken", [0, 1, 10])
@pytest.mark.parametrize("way", ["close", "drop", "break"])
def test_ended_early(make_pool: Any, server: Server, taken: int, way: str) -> None:
    """A stream that is closed, dropped or left before its end, also before its beginning, leaves the handler usable."""
    with make_pool().handler() as db:
        rows = db.stream(COUNT, (1000,), size=10)
        for _ in range(taken):
            next(rows)
        if way == "close":
            rows.close()
            rows.close()
        elif way == "drop":
            del rows
            gc.collect()
        else:
            for _ in rows:
                break
            del rows
            gc.collect()
        insert(db, 1)
        assert rows_of(server, TABLE) == [1]
        assert len(list(db.stream(COUNT, (3,)))) == 3


@pytest.mark.contract("2.call.handler.1")
def test_another_statement_meanwhile(make_pool: Any, server: Server) -> None:
    """In autocommit another statement while a stream is open raises and says why; the stream goes on."""
    with make_pool().handler() as db:
        rows = db.stream(COUNT, (25,), size=10)
        next(rows)
        with pytest.raises(pgdbpool.PoolError, match="stream"):
            insert(db, 1)
        assert len(list(rows)) == 24
        insert(db, 2)
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.handler.1")
@BOTH
def test_the_block_ends_while_a_stream_is_open(make_pool: Any, autocommit: bool) -> None:
    """A stream outlives its block as an error only: it raises, disturbs nobody, and the connection is served again."""
    pool = make_pool(connection_count=1, autocommit=autocommit)
    with pool.handler() as db:
        rows = db.stream(COUNT, (1000,), size=10)
        next(rows)
    with pool.handler() as other:
        others = other.stream(COUNT, (30,), size=10)
        next(others)
        with pytest.raises(pgdbpool.PoolError):
            list(rows)
        rows.close()
        assert len(list(others)) == 29
    assert pool.query("SELECT count(*) FROM pg_cursors").scalar() == 0


# -- within a transaction ----------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.1", "2.call.transaction.1")
@pytest.mark.parametrize("way", ["transaction", "handler"])
def test_other_statements_within_a_transaction(make_pool: Any, server: Server, way: str) -> None:
    """Within a transaction other statements, and other streams, may come between the rows; all is committed at its end."""
    with getattr(make_pool(autocommit=False), way)() as db:
        first, second = db.stream(COUNT, (25,), size=10), db.stream(COUNT, (5,), size=2)
        for row in first:
            insert(db, row["n"])
            if row["n"] == 12:
                assert len(list(second)) == 5
                third = db.stream(COUNT, (4,), size=2)
                assert next(third)["n"] == 1
        assert len(list(third)) == 3
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == list(range(1, 26))


@pytest.mark.contract("2.call.transaction.2")
def test_opened_within_a_block_that_was_undone(make_pool: Any, server: Server) -> None:
    """A stream whose savepoint was undone does the outer transaction no harm when it is closed later."""
    with make_pool().transaction() as db:
        insert(db, 1)
        with pytest.raises(ValueError), db.transaction():
            rows = db.stream(COUNT, (25,), size=10)
            next(rows)
            raise ValueError
        rows.close()
        insert(db, 2)
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_closed_after_its_transaction(make_pool: Any, server: Server, end: str) -> None:
    """``commit`` and ``rollback`` end the open streams; closing one afterwards is nothing, reading on raises."""
    with make_pool(autocommit=False).handler() as db:
        one, other = db.stream(COUNT, (25,), size=10), db.stream(COUNT, (25,), size=10)
        next(one)
        getattr(db, end)()
        one.close()
        with pytest.raises(psycopg2.Error):
            list(other)
        db.rollback()
        insert(db, 1)
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("4.commit-of-a.1")
def test_an_error_while_reading(make_pool: Any, server: Server) -> None:
    """An error on the way is raised from the iteration; the handler goes on, a transaction has failed."""
    pool = make_pool()
    text = "SELECT 10 / (15 - n) FROM generate_series(1, 30) AS n"
    with pool.handler() as db:
        with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
            list(db.stream(text, size=10))
        assert isinstance(caught.value, pgdbpool.DBQueryError)
        insert(db, 1)
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as failed, pool.transaction() as db:
        insert(db, 2)
        with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
            list(db.stream(text, size=10))
    assert failed.value.__cause__ is caught.value
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.p2.3", "7.p1.4")
@pytest.mark.parametrize("way", ["handler", "transaction"])
def test_a_text_that_is_rejected(make_pool: Any, server: Server, way: str) -> None:
    """A rejected text raises at once, with LINE and position of the user's text, although DECLARE stands in front."""
    text = "SELECT 1,\n  no_such_column"
    db = getattr(make_pool(), way)()
    with pytest.raises(psycopg2.errors.UndefinedColumn) as caught, db as lease:
        lease.stream(text)
    assert "LINE 2:   no_such_column" in str(caught.value)
    assert caught.value.diag.statement_position == str(text.index("no_such") + 1)


@pytest.mark.contract("2.call.handler.1")
def test_what_returns_no_rows(make_pool: Any, server: Server) -> None:
    """A statement that is no query is refused by the server and changes nothing; the handler goes on."""
    with make_pool().handler() as db:
        with pytest.raises(pgdbpool.DBQueryError):
            list(db.stream(f"INSERT INTO {TABLE} (id) VALUES (1)"))
        insert(db, 2)
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.handler.1")
def test_several_statements_in_a_stream(make_pool: Any, server: Server) -> None:
    """A second statement in the text is not run behind the stream's back: refused, nothing of it is kept."""
    with make_pool().handler() as db, pytest.raises(pgdbpool.DBQueryError):
        list(db.stream(f"SELECT 1; INSERT INTO {TABLE} (id) VALUES (1)"))
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.a-write-that.5")
def test_lost_on_the_way(make_pool: Any, server: Server) -> None:
    """A connection lost between two pages raises DBConnectionError from the iteration."""
    pool = make_pool()
    with pytest.raises(pgdbpool.DBConnectionError), pool.handler() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        rows = db.stream(COUNT, (25,), size=10)
        next(rows)
        kill(server, pid)
        list(rows)
    assert pool.query("SELECT 1").scalar() == 1
