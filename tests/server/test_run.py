"""``run``: a function in a transaction, and the whole of it again where that is safe."""

# ruff: noqa: PT011  (what the block raises itself)

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import TABLE, Wire, kill, rows_of

RAISE = "DO $$ BEGIN RAISE EXCEPTION USING errcode = '{}'; END $$"

pytestmark = pytest.mark.usefixtures("table")


class Attempts:
    """A function for ``run`` that inserts its number, and does ``then(db)`` in each of the first ``failing`` attempts."""

    def __init__(self, then: Any, failing: int = 1) -> None:
        self.count = 0
        self._then = then
        self._failing = failing

    def __call__(self, db: Any) -> int:
        self.count += 1
        db.query(f"INSERT INTO {TABLE} (id) VALUES (%s)", (self.count,))
        if self.count <= self._failing:
            self._then(db)
        return self.count


@pytest.mark.contract("2.call.run.1")
def test_arguments_and_result(make_pool: Any, server: Server) -> None:
    """The function gets ``db`` and the arguments, in a transaction that is committed, and its result is returned."""

    def work(db: Any, *args: Any, **kwargs: Any) -> Any:
        db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
        assert rows_of(server, TABLE) == []
        return args, kwargs, db.query("SHOW transaction_isolation").scalar()

    answer = make_pool().run(work, 1, 2, group="web", isolation="serializable", name="x")
    assert answer == ((1, 2), {"name": "x"}, "serializable")
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.run.1")
def test_the_functions_own_query_joins(make_pool: Any, server: Server) -> None:
    """Inside the function ``query`` and ``transaction`` of the group join, and are undone with an attempt."""
    pool = make_pool(connection_count=1)

    def work(db: Any) -> None:
        pool.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
        with pool.transaction():
            db.query(f"INSERT INTO {TABLE} (id) VALUES (2)")
        raise ValueError

    with pytest.raises(ValueError):
        pool.run(work)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.run.1")
@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize("raw", [False, True])
def test_again_after_a_failure_that_left_nothing(make_pool: Any, server: Server, code: str, raw: bool) -> None:
    """It runs again after a serialization failure or deadlock, also one of a cursor of ``db.connection``."""

    def then(db: Any) -> None:
        (db.connection.cursor().execute if raw else db.query)(RAISE.format(code))

    work = Attempts(then, failing=2)
    assert make_pool().run(work) == 3
    assert rows_of(server, TABLE) == [3]


@pytest.mark.contract("2.call.run.1")
@pytest.mark.parametrize(("retries", "calls"), [(None, 4), (0, 1), (1, 2)])
def test_at_most_retries_times(make_pool: Any, server: Server, retries: int | None, calls: int) -> None:
    """After ``retries`` further attempts, three by default, the error is raised."""
    work = Attempts(lambda db: db.query(RAISE.format("40001")), failing=99)
    with pytest.raises(psycopg2.errors.SerializationFailure) as caught:
        make_pool().run(work, **({} if retries is None else {"retries": retries}))
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert (work.count, rows_of(server, TABLE)) == (calls, [])


@pytest.mark.contract("2.call.run.1")
@pytest.mark.parametrize("then", [lambda db: db.query("SELECT 1/0"), lambda db: {}["mine"]])
def test_not_after_any_other_error(make_pool: Any, server: Server, then: Any) -> None:
    """Any other error is raised at once, and nothing is kept."""
    work = Attempts(then)
    with pytest.raises((psycopg2.errors.DivisionByZero, KeyError)):
        make_pool().run(work)
    assert (work.count, rows_of(server, TABLE)) == (1, [])


@pytest.mark.contract("2.call.run.1")
def test_real_serialization_failures(make_pool: Any, server: Server) -> None:
    """Threads that read and write the same row under ``repeatable read`` lose no update."""
    server.sql(f"INSERT INTO web.{TABLE} VALUES (0)")
    pool, errors = make_pool(), []

    def increase(db: Any) -> None:
        (value,) = db.query(f"SELECT id FROM {TABLE}").one()
        db.query(f"UPDATE {TABLE} SET id = %s", (value + 1,))

    def work() -> None:
        try:
            for _ in range(5):
                pool.run(increase, isolation="repeatable read", retries=50)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, rows_of(server, TABLE)) == ([], [15])


@pytest.mark.contract("2.call.run.1")
def test_a_real_failure_at_commit(make_pool: Any, server: Server) -> None:
    """A serialization failure that only COMMIT finds runs it again too."""
    pool, calls = make_pool(), []

    def work(db: Any) -> None:
        calls.append(db.query(f"SELECT count(*) FROM {TABLE}").scalar())
        db.query(f"INSERT INTO {TABLE} (id) VALUES (%s)", (10 + len(calls),))
        if len(calls) == 1:  # write skew: the other one reads what this one writes, and commits first
            thread = threading.Thread(target=pool.run, args=(other,), kwargs={"isolation": "serializable"})
            thread.start()
            thread.join()

    def other(db: Any) -> None:
        db.query(f"SELECT count(*) FROM {TABLE}")
        db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")

    pool.run(work, isolation="serializable")
    assert calls == [0, 1]
    assert rows_of(server, TABLE) == [1, 12]


@pytest.mark.contract("2.call.run.1")
def test_a_real_deadlock(make_pool: Any, server: Server) -> None:
    """Two that wait for each other both succeed in the end."""
    server.sql(f"INSERT INTO web.{TABLE} VALUES (1, ''), (2, '')")
    pool, barrier, errors = make_pool(), threading.Barrier(2), []

    def work(db: Any, first: int, second: int) -> None:
        db.query(f"UPDATE {TABLE} SET note = note || 'x' WHERE id = %s", (first,))
        if not barrier.broken:  # the second attempt comes alone
            with suppress(threading.BrokenBarrierError):
                barrier.wait(2)
            barrier.abort()
        db.query(f"UPDATE {TABLE} SET note = note || 'x' WHERE id = %s", (second,))

    def guarded(*args: int) -> None:
        try:
            pool.run(work, *args)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=each) for each in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, rows_of(server, TABLE, "note")) == ([], ["xx", "xx"])


# -- a lost connection -------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.run.1", "4.a-write-that.5")
@pytest.mark.parametrize("more", [True, False])
def test_again_after_a_loss_before_commit(make_pool: Any, server: Server, more: bool) -> None:
    """It runs again when its backend is killed before COMMIT was sent, seen by a further statement or by none."""

    def then(db: Any) -> None:
        kill(server, db.query("SELECT pg_backend_pid()").scalar())
        if more:
            db.query("SELECT 1")

    work = Attempts(then)
    assert make_pool().run(work) == 2
    assert rows_of(server, TABLE) == [2]


@pytest.mark.contract("2.call.run.1", "4.a-write-that.1", "4.a-write-that.3")
def test_not_when_in_doubt(make_pool: Any, server: Server, wire: Wire) -> None:
    """It does not run again when the answer to COMMIT is lost: InDoubt, which knows that the work is there, once."""
    work = Attempts(None, failing=0)
    wire.lose_answer("COMMIT")
    with pytest.raises(pgdbpool.InDoubt) as caught:
        make_pool(wire.config()).run(work)
    assert (work.count, caught.value.outcome) == (1, "committed")
    assert eventually(lambda: rows_of(server, TABLE) == [1])


@pytest.mark.contract("2.call.run.1")
def test_again_after_a_lost_answer_before_commit(make_pool: Any, server: Server, wire: Wire) -> None:
    """A write within it whose answer is lost runs again with all the rest: nothing of it was kept."""
    work = Attempts(None, failing=0)
    wire.lose_answer("INSERT", times=2)
    assert make_pool(wire.config()).run(work) == 3
    assert rows_of(server, TABLE) == [3]


# -- misuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.run.1")
def test_inside_another_transaction(make_pool: Any, server: Server) -> None:
    """Inside another transaction of the thread and group, also its own, it raises before calling anything."""
    pool, work = make_pool(), Attempts(None, failing=0)
    with pool.transaction() as db:
        with pytest.raises(pgdbpool.PoolError, match=r"run\(\)"):
            pool.run(work)
        db.query(f"INSERT INTO {TABLE} (id) VALUES (7)")
    with pytest.raises(pgdbpool.PoolError, match=r"run\(\)"):
        pool.run(lambda db: pool.run(work))
    assert (work.count, rows_of(server, TABLE)) == (0, [7])


@pytest.mark.contract("2.call.run.1")
def test_negative_retries(make_pool: Any) -> None:
    """A negative number of retries raises before calling anything."""
    work = Attempts(None, failing=0)
    with pytest.raises(ValueError, match="retries"):
        make_pool().run(work, retries=-1)
    assert work.count == 0


@pytest.mark.contract("2.call.run.1")
def test_read_only(make_pool: Any, server: Server) -> None:
    """``read_only=True`` makes it a READ ONLY transaction."""
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        make_pool().run(Attempts(None, failing=0), read_only=True)
    assert rows_of(server, TABLE) == []
