"""How a ``transaction()`` ends when something has gone wrong: errors, lost connections, misuse."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import threading
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import TABLE, Wire, fail, insert, kill, rows_of

pytestmark = pytest.mark.usefixtures("table")


# -- a failed transaction never passes for success ---------------------------------------------------------------------


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec", "SELECT no_such_column"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_swallowed_error_surfaces_at_the_end(make_pool: Any, server: Server, first: str, before: int) -> None:
    """A block whose error was swallowed raises at its clean exit, with the first error as its cause."""
    pool = make_pool(connection_count=1)
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught, pool.transaction() as db:
        insert(db, *range(before))
        error = fail(db, first)
        assert isinstance(fail(db, "SELECT 2/0"), psycopg2.errors.InFailedSqlTransaction)
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert caught.value.pgcode == "25P02"
    assert caught.value.__cause__ is error
    assert rows_of(server, TABLE) == []
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec"])
def test_nothing_runs_after_a_swallowed_error(make_pool: Any, server: Server, first: str) -> None:
    """After a failed statement, also the very first one, the block's further statements fail and do nothing."""
    pool = make_pool()
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction), pool.transaction() as db:
        fail(db, first)
        for query in (db.query, pool.query):
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                query(f"INSERT INTO {TABLE} (id) VALUES (1)")
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.commit-of-a.1")
def test_a_swallowed_error_in_an_inner_block(make_pool: Any, server: Server) -> None:
    """An inner block whose error was swallowed raises at its clean exit; swallowed there, the outer one goes on."""
    pool = make_pool()
    with pool.transaction() as db:
        insert(db, 1)
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught, pool.transaction():
            insert(db, 2)
            error = fail(db)
        assert caught.value.__cause__ is error
        insert(db, 3)
    assert rows_of(server, TABLE) == [1, 3]


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("first", ["SELECT 1/0", "selec"])
def test_an_inner_block_does_not_heal_the_outer(make_pool: Any, server: Server, first: str) -> None:
    """An error of the outer block, also as its first statement, is not forgotten because of an inner block."""
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction), make_pool().transaction() as db:
        fail(db, first)
        with pytest.raises((ValueError, psycopg2.errors.InFailedSqlTransaction)), db.transaction():
            raise ValueError
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            insert(db, 1)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.commit-of-a.1", "7.p1.5")
def test_an_error_before_sending_does_not_fail_the_transaction(make_pool: Any, server: Server) -> None:
    """A missing parameter never reached the server: swallowed, the transaction goes on and is committed."""
    with make_pool().transaction() as db:
        for _ in range(2):
            with pytest.raises(IndexError):
                db.query("SELECT %s, %s", (1,))
            insert(db, len(rows_of(server, TABLE)) + _)
    assert rows_of(server, TABLE) == [0, 1]


@pytest.mark.contract("4.commit-of-a.1")
def test_a_deferred_constraint_fails_at_commit(make_pool: Any, server: Server) -> None:
    """What only COMMIT finds is raised by the end of the block, as the server's error; nothing is kept."""
    server.sql(f"ALTER TABLE web.{TABLE} ADD CONSTRAINT late UNIQUE (note) DEFERRABLE INITIALLY DEFERRED")
    pool = make_pool(connection_count=1)
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught, pool.transaction() as db:
        db.query(f"INSERT INTO {TABLE} VALUES (1, 'x'), (2, 'x')")
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert caught.value.diag.constraint_name == "late"
    assert rows_of(server, TABLE) == []
    insert(pool, 3)
    assert rows_of(server, TABLE) == [3]


# -- a lost connection -------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.a-write-that.5")
def test_lost_inside_a_transaction(make_pool: Any, server: Server) -> None:
    """A connection lost inside a transaction raises DBConnectionError, for a write too, and nothing is kept."""
    pool = make_pool()
    with pytest.raises(pgdbpool.DBConnectionError) as caught, pool.transaction() as db:
        insert(db, 1)
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
        insert(db, 2)
    assert not isinstance(caught.value, pgdbpool.InDoubt)
    assert isinstance(caught.value.__cause__, psycopg2.Error)
    assert rows_of(server, TABLE) == []
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.a-write-that.5")
def test_a_swallowed_loss_is_no_doubt(make_pool: Any, server: Server) -> None:
    """A loss that the block swallows is raised at its end as what it is: no COMMIT was sent, nothing was kept."""
    with pytest.raises(pgdbpool.DBConnectionError), make_pool().transaction() as db:
        insert(db, 1)
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
        with pytest.raises(pgdbpool.DBConnectionError):
            insert(db, 2)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.a-write-that.5")
def test_an_exception_after_a_loss_passes(make_pool: Any, server: Server) -> None:
    """An exception of the block's own passes as it is, although the connection is lost."""
    pool = make_pool()
    with pytest.raises(ValueError), pool.transaction() as db, db.transaction():
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
        raise ValueError
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.a-write-that.3")
def test_a_lost_answer_to_commit(make_pool: Any, server: Server, wire: Wire) -> None:
    """COMMIT whose answer is lost raises InDoubt with an unknown outcome; it was sent once."""
    pool = make_pool(wire.config())
    wire.lose_answer("COMMIT")
    with pytest.raises(pgdbpool.InDoubt) as caught, pool.transaction() as db:
        insert(db, 1)
    assert (caught.value.outcome, caught.value.retry_safe) == ("unknown", False)
    assert [text for text in wire.queries() if "COMMIT" in text] == ["COMMIT"]
    assert eventually(lambda: rows_of(server, TABLE) == [1])


@pytest.mark.contract("4.a-write-that.3", "2.call.run.1")
def test_a_loss_known_before_commit_is_no_doubt(make_pool: Any, server: Server) -> None:
    """Where the server has hung up before COMMIT was sent, nothing was kept, and the error says so."""
    with pytest.raises(pgdbpool.DBConnectionError), make_pool().transaction() as db:
        insert(db, 1)
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
    assert rows_of(server, TABLE) == []


# -- the object --------------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.protected.2")
def test_use_after_the_block(make_pool: Any, wire: Wire) -> None:
    """What the block yielded raises after it, and nothing reaches the server."""
    pool = make_pool(wire.config())
    with pool.transaction() as db:
        db.query("SELECT 1")
    wire.queries()
    for use in (lambda: db.query("SELECT 2"), lambda: db.executemany("SELECT %s", [(1,)]), db.commit, db.rollback,
                lambda: db.connection, lambda: next(db.stream("SELECT 2")), db.transaction().__enter__):  # fmt: skip
        with pytest.raises(pgdbpool.PoolError, match=r"given .*back"):
            use()
    assert wire.queries() == []


@pytest.mark.contract("4.protected.2")
def test_entered_twice(make_pool: Any, server: Server) -> None:
    """Entering the same transaction object twice raises; the block it is in goes on and is committed."""
    pool = make_pool()

    def work() -> None:  # in a thread of its own: a transaction that stayed joined would swallow the other tests
        block = pool.transaction()
        with block as db:
            insert(db, 1)
            with pytest.raises(pgdbpool.PoolError, match="twice"), block:
                pass
            insert(db, 2)

    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join(10)
    assert (errors, rows_of(server, TABLE), pool.stats()["groups"]["web"]["in_use"]) == ([], [1, 2], 0)


@pytest.mark.contract("2.call.transaction.1")
def test_used_again_one_after_the_other(make_pool: Any) -> None:
    """The same transaction object serves one block after another, with the same isolation."""
    block = make_pool().transaction(isolation="serializable", read_only=True)
    for _ in range(2):
        with block as db:
            shown = [db.query(f"SHOW transaction_{name}").scalar() for name in ("isolation", "read_only")]
            assert shown == ["serializable", "on"]


@pytest.mark.contract("4.protected.2")
def test_two_threads_at_once(make_pool: Any, server: Server, wire: Wire) -> None:
    """A second thread's statement on a transaction that is at work raises, and never reaches the server."""
    pool = make_pool(wire.config())
    with pool.transaction() as db:
        thread = threading.Thread(target=lambda: db.query("SELECT pg_sleep(0.5)"))
        thread.start()
        assert eventually(lambda: any("pg_sleep(0.5)" in text for _, text in list(wire.sent)))
        for use in (lambda: insert(db, 1), lambda: db.executemany("SELECT %s", [(1,)]), db.transaction().__enter__):
            with pytest.raises(pgdbpool.PoolError, match="two threads"):
                use()
        thread.join()
        insert(db, 2)
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("4.protected.2")
def test_an_inner_block_entered_twice(make_pool: Any, server: Server) -> None:
    """Entering the block of ``db.transaction()`` again while inside it raises; the block goes on and is committed."""
    with make_pool().handler() as db:
        block = db.transaction()
        with block:
            insert(db, 1)
            with pytest.raises(pgdbpool.PoolError, match="twice"):
                block.__enter__()
            insert(db, 2)
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("4.protected.2")
def test_blocks_left_in_the_wrong_order(make_pool: Any, server: Server) -> None:
    """Leaving the outer block before the inner one raises, and nothing of either is kept."""
    with pytest.raises(pgdbpool.PoolError, match="reverse order"), make_pool().handler() as db:
        outer, inner = db.transaction(), db.transaction()
        outer.__enter__()
        insert(db, 1)
        inner.__enter__()
        outer.__exit__(None, None, None)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.protected.2")
def test_left_without_being_entered(make_pool: Any) -> None:
    """Leaving a transaction that was never entered, or has been left, raises and takes nobody's connection."""
    pool = make_pool(connection_count=1)
    block = pool.transaction()
    for _ in range(2):
        with pytest.raises(pgdbpool.PoolError, match="never entered"):
            block.__exit__(None, None, None)
        with block as db:
            assert db.query("SELECT 1").scalar() == 1
