"""``transaction()``: a block in one transaction, joined by its thread, with savepoints inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import Wire, fresh_table, kill, rows_of, wire_to

TABLE = "of_transaction"
BOTH = pytest.mark.parametrize("autocommit", [True, False])


@pytest.fixture(autouse=True)
def table(server: Server) -> None:
    fresh_table(server, TABLE)


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with wire_to(server) as wire:
        yield wire


def insert(db: Any, *numbers: int) -> None:
    for number in numbers:
        db.query(f"INSERT INTO {TABLE} (id) VALUES (%s)", (number,))


def fail(db: Any, text: str = "SELECT 1/0") -> pgdbpool.DBQueryError:
    """Send what the server rejects, and swallow its error."""
    with pytest.raises(pgdbpool.DBQueryError) as caught:
        db.query(text)
    return caught.value


# -- commit and rollback ----------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.transaction.1")
@BOTH
def test_commit_on_a_clean_exit(make_pool: Any, server: Server, autocommit: bool) -> None:
    """The block is one transaction, whatever the group's autocommit, and is committed at its end."""
    pool = make_pool(autocommit=autocommit)
    with pool.transaction() as db:
        insert(db, 1, 2)
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.transaction.1")
@BOTH
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_rollback_on_an_exception(make_pool: Any, server: Server, autocommit: bool, kind: type[BaseException]) -> None:
    """An exception of any kind undoes the block and passes on as it is."""
    pool, error = make_pool(autocommit=autocommit), kind("mine")
    with pytest.raises(kind) as caught, pool.transaction() as db:
        insert(db, 1)
        raise error
    assert caught.value is error
    assert rows_of(server, TABLE) == []
    assert pool.query("SELECT pg_current_xact_id_if_assigned()").scalar() is None


@pytest.mark.contract("2.call.transaction.1")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_round_trips(make_pool: Any, wire: Wire, count: int) -> None:
    """n statements cost n + 1 round trips: BEGIN travels with the first."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    with pool.transaction(query_timeout=1234) as db:
        insert(db, *range(count))
    assert len(wire.queries()) == count + 1


@pytest.mark.contract("2.call.transaction.1")
def test_an_empty_block_sends_nothing(make_pool: Any, wire: Wire) -> None:
    """A transaction without a statement costs no round trip."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    with pool.transaction():
        pass
    assert wire.queries() == []


@pytest.mark.contract("2.call.transaction.1")
def test_control_by_text_is_refused(make_pool: Any, server: Server) -> None:
    """BEGIN, COMMIT and ROLLBACK as text are refused in a block, by ``db`` and by ``query``, and do it no harm."""
    pool = make_pool()
    with pool.transaction() as db:
        insert(db, 1)
        for text in ("BEGIN", "commit", "END", "ROLLBACK", "abort", "COMMIT AND CHAIN", "SELECT 1; COMMIT", b"COMMIT"):
            for query in (db.query, pool.query):
                with pytest.raises(psycopg2.ProgrammingError, match="transaction") as caught:
                    query(text)
                assert isinstance(caught.value, pgdbpool.DBQueryError)
        insert(db, 2)
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.transaction.1")
def test_commit_and_rollback_inside_are_refused(make_pool: Any, server: Server) -> None:
    """``commit()`` and ``rollback()`` in a block raise and say that the block itself ends the transaction."""
    with make_pool().transaction() as db:
        insert(db, 1)
        for method in (db.commit, db.rollback):
            with pytest.raises(pgdbpool.PoolError, match="block"):
                method()
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.transaction.1")
@pytest.mark.parametrize("level", ["read committed", "repeatable read", "SERIALIZABLE", "read_uncommitted"])
@pytest.mark.parametrize("read_only", [False, True])
def test_isolation_and_read_only_are_set(make_pool: Any, level: str, read_only: bool) -> None:
    """The isolation and READ ONLY of a transaction are the server's, for this transaction and not for the next."""
    pool = make_pool(connection_count=1)
    shown = [f"SHOW transaction_{name}" for name in ("isolation", "read_only")]
    asked = [level.lower().replace("_", " "), "on" if read_only else "off"]
    with pool.transaction(isolation=level, read_only=read_only) as db:
        assert [db.query(text).scalar() for text in shown] == asked
    with pool.handler() as db:
        assert [db.query(text).scalar() for text in shown] == ["read committed", "off"]
        with db.transaction(isolation=level, read_only=read_only):
            assert [db.query(text).scalar() for text in shown] == asked
        with db.transaction():
            assert [db.query(text).scalar() for text in shown] == ["read committed", "off"]


@pytest.mark.contract("2.call.transaction.1")
def test_an_unknown_isolation(make_pool: Any) -> None:
    """An unknown isolation raises at once and names those that there are."""
    with pytest.raises(ValueError, match=r"'snapshot'.*serializable"):
        make_pool().transaction(isolation="snapshot")


@pytest.mark.contract("2.call.transaction.1", "4.a-write-that.2")
@BOTH
def test_the_server_refuses_writes_when_read_only(make_pool: Any, server: Server, autocommit: bool) -> None:
    """``read_only=True`` is enforced by the server (25006)."""
    pool = make_pool(autocommit=autocommit)
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught, pool.transaction(read_only=True) as db:
        insert(db, 1)
    assert caught.value.pgcode == "25006"
    assert rows_of(server, TABLE) == []


# -- joining ----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.transaction.2")
def test_query_and_transaction_join(make_pool: Any, server: Server) -> None:
    """In the block, ``query`` and ``transaction`` of the same group work on its connection and in its transaction."""
    pool = make_pool(connection_count=1)
    with pytest.raises(ValueError), pool.transaction() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        insert(pool, 1)
        assert pool.query("SELECT pg_backend_pid()", group="web").scalar() == pid
        with pool.transaction("web") as inner:
            insert(inner, 2)
            assert inner.query("SELECT pg_backend_pid()").scalar() == pid
        assert [row[0] for row in pool.query(f"SELECT id FROM {TABLE} ORDER BY 1")] == [1, 2]
        raise ValueError
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.transaction.2")
def test_another_thread_does_not_join(make_pool: Any) -> None:
    """Another thread's ``query`` is not in this thread's transaction."""
    pool = make_pool()
    seen: list[int] = []
    with pool.transaction() as db:
        insert(db, 1)
        thread = threading.Thread(target=lambda: seen.append(pool.query(f"SELECT count(*) FROM {TABLE}").scalar()))
        thread.start()
        thread.join()
    assert seen == [0]


@pytest.mark.contract("2.call.transaction.2")
def test_another_group_does_not_join(make_pool: Any, server: Server) -> None:
    """Transactions in two groups at once are two transactions, each ended by its own block."""
    pool = make_pool({**server.config(), "groups": {"a": {"connection_count": 1}, "b": {"connection_count": 1}}})
    with pool.transaction("a") as a:
        insert(a, 1)
        with pytest.raises(ValueError), pool.transaction("b") as b:
            insert(b, 2)
            assert pool.query(f"SELECT id FROM {TABLE}", group="a").one() == (1,)
            assert pool.query(f"SELECT id FROM {TABLE}", group="b").one() == (2,)
            raise ValueError
        assert pool.query(f"SELECT id FROM {TABLE}").one() == (1,)
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.transaction.2", "2.p1.2")
def test_another_pool_does_not_join(make_pool: Any, server: Server) -> None:
    """A transaction of one pool is not joined by a group of the same name of another pool."""
    one, other = make_pool(), make_pool()
    with pytest.raises(ValueError), one.transaction() as db:
        insert(db, 1)
        insert(other, 2)
        raise ValueError
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.transaction.2")
def test_nothing_is_joined_after_the_block(make_pool: Any, server: Server) -> None:
    """After the block, also one that failed, ``query`` is in autocommit again."""
    pool = make_pool(connection_count=1)
    with pytest.raises(ValueError), pool.transaction():
        raise ValueError
    insert(pool, 1)
    assert rows_of(server, TABLE) == [1]


# -- savepoints -------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.transaction.2")
def test_savepoints_three_deep(make_pool: Any, server: Server) -> None:
    """An exception undoes its own block only; the blocks around it go on and are kept."""
    pool = make_pool()
    with pool.transaction() as db:
        insert(db, 1)
        with pool.transaction():
            insert(db, 2)
            with pytest.raises(ValueError), db.transaction():
                insert(db, 3)
                raise ValueError
            with pytest.raises(psycopg2.errors.UniqueViolation), pool.transaction():
                insert(db, 4, 1)
            insert(db, 5)
        with db.transaction(), db.transaction(), db.transaction():
            insert(db, 6)
    assert rows_of(server, TABLE) == [1, 2, 5, 6]


@pytest.mark.contract("2.call.transaction.2")
def test_an_outer_exception_undoes_the_inner_blocks(make_pool: Any, server: Server) -> None:
    """An inner block that ended well is undone with the outer one."""
    pool = make_pool()
    with pytest.raises(ValueError), pool.transaction() as db:
        with pool.transaction():
            insert(db, 1)
        raise ValueError
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.transaction.2")
@pytest.mark.parametrize("words", [{"isolation": "serializable"}, {"read_only": True}])
def test_options_of_an_inner_block(make_pool: Any, words: dict[str, Any]) -> None:
    """An inner block cannot change isolation or READ ONLY: it raises, and the outer block goes on."""
    pool = make_pool()
    with pool.transaction() as db:
        for transaction in (pool.transaction, db.transaction):
            with pytest.raises(pgdbpool.PoolError, match="outermost"), transaction(**words):
                raise AssertionError("not reached")
        assert db.query("SHOW transaction_isolation").scalar() == "read committed"


@pytest.mark.contract("2.call.transaction.2")
def test_the_users_own_savepoints(make_pool: Any, server: Server) -> None:
    """SAVEPOINT and ROLLBACK TO as text recover the transaction from an error, as in psycopg2."""
    with make_pool().transaction() as db:
        insert(db, 1)
        db.query("SAVEPOINT mine")
        fail(db)
        db.query("ROLLBACK TO SAVEPOINT mine")
        insert(db, 2)
    assert rows_of(server, TABLE) == [1, 2]


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
