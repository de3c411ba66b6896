"""``Handler``: a block that holds one connection."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
import pytest

import pgdbpool
from tests.servers import Server
from tests.usage import BOTH, TABLE, Wire, fail, insert, rows_of

pytestmark = pytest.mark.usefixtures("table")


# -- one connection ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.1")
def test_one_connection_for_the_block(make_pool: Any) -> None:
    """All of a handler works on one connection, which is back in the pool after the block."""
    pool = make_pool(connection_count=2)
    with pool.handler() as db:
        pid = db.connection.info.backend_pid
        assert {db.query("SELECT pg_backend_pid()").scalar() for _ in range(5)} == {pid}
        with db.transaction():
            assert next(db.stream("SELECT pg_backend_pid()"))[0] == pid
        assert pool.stats()["groups"]["web"]["in_use"] == 1
        assert pool.query("SELECT pg_backend_pid()").scalar() != pid
    assert pool.stats()["groups"]["web"]["in_use"] == 0


@pytest.mark.contract("2.call.handler.1")
def test_an_exception_gives_the_connection_back(make_pool: Any) -> None:
    """Whatever leaves the block, its connection comes back, and the exception passes as it is."""
    pool, error = make_pool(connection_count=1), KeyError("mine")
    for _ in range(3):
        with pytest.raises(KeyError) as caught, pool.handler() as db:
            db.query("SELECT 1")
            raise error
        assert caught.value is error
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.call.handler.1")
def test_a_handler_of_the_default_pool(server: Server, make_pool: Any) -> None:
    """``pgdbpool.Handler`` takes its connection from the default pool."""
    pool = pgdbpool.init(server.config(), wait=5)
    try:
        with pgdbpool.Handler("web") as db:
            assert db.query("SELECT 1").scalar() == 1
            assert pool.stats()["groups"]["web"]["in_use"] == 1
    finally:
        pgdbpool.close()


@pytest.mark.contract("2.call.handler.1")
def test_session_statements_are_allowed(make_pool: Any) -> None:
    """What only makes sense in a session works in a handler, and is not seen by the next user."""
    pool = make_pool(connection_count=1)
    with pool.handler() as db:
        db.query("SET work_mem = '123kB'; CREATE TEMP TABLE mine (a int)")
        db.query("PREPARE p AS SELECT 7")
        assert db.query("EXECUTE p").scalar() == 7
        assert db.query("SELECT count(*) FROM mine").scalar() == 0
        assert db.query("SHOW work_mem").scalar() == "123kB"
    with pool.handler() as db:
        assert db.query("SHOW work_mem").scalar() != "123kB"
        with pytest.raises(psycopg2.errors.UndefinedTable):
            db.query("TABLE mine")


@pytest.mark.contract("2.p2.2", "2.call.handler.1")
@BOTH
def test_the_handlers_query_timeout(make_pool: Any, autocommit: bool) -> None:
    """``query_timeout`` of a handler, or of one of its statements, bounds the answer, with and without autocommit."""
    pool = make_pool(autocommit=autocommit)
    with pool.handler(query_timeout=100) as db:
        with pytest.raises(psycopg2.errors.QueryCanceled):
            db.query("SELECT pg_sleep(5)")
        db.rollback()
        assert db.query("SELECT pg_sleep(0.3), 1", query_timeout=2000).one()[1] == 1
        assert db.query("SHOW statement_timeout").scalar() == "100ms"
        db.commit()
        if autocommit:
            db.query(f"VACUUM {TABLE}")
    assert pool.query("SHOW statement_timeout").scalar() == "5s"


# -- autocommit on -----------------------------------------------------------------------------------------------------


@pytest.mark.contract("3.group.autocommit.1")
def test_autocommit_is_the_default(make_pool: Any, server: Server) -> None:
    """By default each statement of a handler is committed at once, and an exception undoes none of them."""
    with pytest.raises(ValueError), make_pool().handler() as db:
        insert(db, 1)
        assert rows_of(server, TABLE) == [1]
        db.rollback()
        db.commit()
        fail(db)
        insert(db, 2)
        raise ValueError
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.handler.1")
def test_transactions_of_a_handler(make_pool: Any, server: Server) -> None:
    """``db.transaction()`` commits at its end, undoes on an exception, and leaves the handler in autocommit."""
    with make_pool().handler() as db:
        with db.transaction() as inner:
            insert(inner, 1)
            assert rows_of(server, TABLE) == []
        with pytest.raises(ValueError), db.transaction():
            insert(db, 2)
            with db.transaction():
                insert(db, 3)
            raise ValueError
        insert(db, 4)
        assert rows_of(server, TABLE) == [1, 4]


@pytest.mark.contract("2.call.handler.1")
def test_transactions_by_text(make_pool: Any, server: Server) -> None:
    """A handler in autocommit takes BEGIN, COMMIT and ROLLBACK as text; what is open at the end is undone."""
    pool = make_pool(connection_count=1)
    with pool.handler() as db:
        db.query("BEGIN")
        insert(db, 1)
        db.query("COMMIT")
        db.query("BEGIN")
        insert(db, 2)
        fail(db)
        db.query("ROLLBACK")
        db.query("BEGIN")
        insert(db, 3)
    assert rows_of(server, TABLE) == [1]
    insert(pool, 3)


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("text", ["COMMIT", "end", "COMMIT; SELECT 1", "COMMIT AND CHAIN"])
def test_a_failed_transaction_is_not_committed_by_text(make_pool: Any, server: Server, text: str) -> None:
    """COMMIT as text of a transaction that has failed raises, with the first error as its cause."""
    with make_pool().handler() as db:
        db.query("BEGIN")
        insert(db, 1)
        error = fail(db)
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught:
            db.query(text)
        assert caught.value.__cause__ is error
        db.query("ROLLBACK")
        insert(db, 2)
    assert rows_of(server, TABLE) == [2]


# -- autocommit off ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.handler.2", "3.group.autocommit.1")
def test_commit_on_a_clean_exit(make_pool: Any, server: Server) -> None:
    """With autocommit off nothing is committed before the clean exit, and all of it then."""
    with make_pool(autocommit=False).handler() as db:
        insert(db, 1, 2)
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.handler.2")
def test_rollback_on_an_exception(make_pool: Any, server: Server) -> None:
    """With autocommit off an exception undoes what was done since the last commit."""
    with pytest.raises(ValueError), make_pool(autocommit=False).handler() as db:
        insert(db, 1)
        db.commit()
        insert(db, 2)
        raise ValueError
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.handler.1")
def test_explicit_commit_and_rollback(make_pool: Any, server: Server) -> None:
    """``commit`` keeps and ``rollback`` undoes what was done since the last of them; neither needs anything to do."""
    with make_pool(autocommit=False).handler() as db:
        db.commit()
        db.rollback()
        insert(db, 1)
        db.commit()
        assert rows_of(server, TABLE) == [1]
        insert(db, 2)
        db.rollback()
        insert(db, 3)
    assert rows_of(server, TABLE) == [1, 3]


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("count", [1, 3])
def test_round_trips(make_pool: Any, wire: Wire, count: int) -> None:
    """n statements and their commit cost n + 1 round trips, with autocommit off; n with autocommit on."""
    pool = make_pool(wire.config({"connection_count": 1, "autocommit": False}))
    with pool.handler() as db:
        insert(db, *range(count))
    assert len(wire.queries()) == count + 1


@pytest.mark.contract("4.commit-of-a.1", "2.call.handler.2")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec"])
@pytest.mark.parametrize("explicit", [True, False])
def test_commit_of_a_failed_transaction(make_pool: Any, server: Server, first: str, explicit: bool) -> None:
    """``commit()``, or the clean exit, raises after a swallowed error, with that as its cause; then all begins anew."""
    errors = []
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught, make_pool(autocommit=False).handler() as db:
        errors.append(fail(db, first))
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            insert(db, 1)
        if explicit:
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as explicitly:
                db.commit()
            assert explicitly.value.__cause__ is errors[0]
            insert(db, 2)
            db.commit()
            insert(db, 3)
            errors.append(fail(db, first))
    assert caught.value.__cause__ is errors[-1]
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert rows_of(server, TABLE) == ([2] if explicit else [])


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec"])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("by_text", [True, False])
def test_rollback_after_an_error(make_pool: Any, server: Server, first: str, before: int, by_text: bool) -> None:
    """``rollback()`` and ROLLBACK as text end a failed transaction; what comes then is kept."""
    with make_pool(autocommit=False).handler() as db:
        insert(db, *range(before))
        fail(db, first)
        if by_text:
            db.query("ROLLBACK")
        else:
            db.rollback()
        insert(db, 5)
    assert rows_of(server, TABLE) == [5]


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec"])
def test_savepoints_by_text(make_pool: Any, server: Server, first: str) -> None:
    """ROLLBACK TO SAVEPOINT as text recovers from an error, and the rest is committed."""
    with make_pool(autocommit=False).handler() as db:
        db.query("SAVEPOINT mine")
        insert(db, 1)
        fail(db, first)
        db.query("ROLLBACK TO SAVEPOINT mine")
        insert(db, 2)
        db.commit()
        assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.handler.1")
def test_a_block_within_autocommit_off(make_pool: Any, server: Server) -> None:
    """``db.transaction()`` after a first statement is a savepoint: only the handler commits."""
    with make_pool(autocommit=False).handler() as db:
        insert(db, 1)
        with db.transaction():
            insert(db, 2)
        with pytest.raises(ValueError), db.transaction():
            insert(db, 3)
            raise ValueError
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("4.commit-of-a.1", "2.call.handler.2")
def test_a_deferred_constraint(make_pool: Any, server: Server) -> None:
    """What only COMMIT finds is raised by ``commit()`` and by the clean exit, and nothing is kept."""
    server.sql(f"ALTER TABLE web.{TABLE} ADD UNIQUE (note) DEFERRABLE INITIALLY DEFERRED")
    twice = f"INSERT INTO {TABLE} VALUES (1, 'x'), (2, 'x')"
    with pytest.raises(psycopg2.errors.UniqueViolation), make_pool(autocommit=False).handler() as db:
        db.query(twice)
        with pytest.raises(psycopg2.errors.UniqueViolation):
            db.commit()
        insert(db, 3)
        db.commit()
        db.query(twice)
    assert rows_of(server, TABLE) == [3]
