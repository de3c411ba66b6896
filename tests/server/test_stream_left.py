"""What follows a stream that was opened in autocommit and left before its last row."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from tests.servers import Server
from tests.usage import TABLE, rows_of

COUNT = "SELECT n FROM generate_series(1, 25) AS n"
INSERT = f"INSERT INTO {TABLE} (id) VALUES (%s)"

pytestmark = pytest.mark.usefixtures("table")


def in_a_transaction(db: Any) -> None:
    with db.transaction():
        db.query(INSERT, (1,))


def in_a_batch(db: Any) -> None:
    db.executemany(INSERT, [(1,)])


def by_the_connection(db: Any) -> None:
    db.connection.cursor().execute(INSERT, (1,))


WAYS = [in_a_transaction, in_a_batch, by_the_connection]


@pytest.mark.contract("2.call.handler.1", "2.call.handler.2")
@pytest.mark.parametrize("write", WAYS, ids=lambda write: write.__name__)
def test_what_is_written_after_a_dropped_stream_stays(
    make_pool: Any, server: Server, write: Callable[[Any], None]
) -> None:
    """The transaction of a stream that was dropped takes nothing along that was written after it."""
    with make_pool().handler() as db:
        next(db.stream(COUNT, size=10))
        gc.collect()
        write(db)
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.handler.1", "2.call.handler.2")
@pytest.mark.parametrize("write", WAYS, ids=lambda write: write.__name__)
def test_nothing_is_written_in_the_middle_of_a_stream(
    make_pool: Any, server: Server, write: Callable[[Any], None]
) -> None:
    """While such a stream is read, whatever would share its transaction is refused; its rows go on."""
    with make_pool().handler() as db:
        rows = db.stream(COUNT, size=10)
        next(rows)
        with pytest.raises(pgdbpool.PoolError, match="stream"):
            write(db)
        assert len(list(rows)) == 24
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.protected.2")
def test_a_stream_of_an_earlier_use(make_pool: Any) -> None:
    """One kept over the end of its handler's block raises in the next block of the same handler, and reads nothing there."""
    handler = make_pool(connection_count=1).handler()
    with handler as db:
        rows = db.stream(COUNT, size=5)
        assert [next(rows)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    with handler as db:
        with pytest.raises(pgdbpool.PoolError, match="earlier use"):
            next(rows)
        assert db.query("SELECT 1").scalar() == 1
