"""``transaction()``: a block in one transaction, joined by its thread, with savepoints inside."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import threading
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server
from tests.usage import BOTH, TABLE, Wire, fail, insert, rows_of

pytestmark = pytest.mark.usefixtures("table")


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
