"""``executemany``: one statement for many rows, all or nothing."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg2.errors
import pytest

import pgdbpool
from tests.servers import Server
from tests.usage import TABLE, Wire, kill, rows_of

INSERT = f"INSERT INTO {TABLE} (id, note) VALUES (%s, %s)"

pytestmark = pytest.mark.usefixtures("table")


def numbered(count: int) -> list[tuple[int, str]]:
    return [(number, f"it's % no. {number}") for number in range(count)]


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_every_row(make_pool: Any, server: Server, count: int) -> None:
    """Each row is sent once, whatever their number; any iterable will do."""
    with make_pool().handler() as db:
        db.executemany(INSERT, iter(numbered(count)))
    assert rows_of(server, TABLE, "note") == sorted(note for _, note in numbered(count))


@pytest.mark.contract("2.call.handler.1")
def test_rows_as_dicts(make_pool: Any, server: Server) -> None:
    """Rows may be dicts."""
    with make_pool().handler() as db:
        db.executemany(f"INSERT INTO {TABLE} (id) VALUES (%(id)s)", [{"id": 1}, {"id": 2, "more": 3}])
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("2.call.handler.1")
def test_many_rows_to_a_message(make_pool: Any, wire: Wire) -> None:
    """A hundred rows cost as little as one write: the statements and a COMMIT."""
    pool = make_pool(wire.config())
    with pool.handler() as db:
        db.executemany(INSERT, numbered(100))
    assert len(wire.queries()) <= 3


@pytest.mark.contract("2.call.handler.1")
@pytest.mark.parametrize("bad", [0, 50, 150, 249])
@pytest.mark.parametrize("autocommit", [True, False])
def test_all_or_nothing(make_pool: Any, server: Server, bad: int, autocommit: bool) -> None:
    """One row that the server rejects, on whichever page, and none of them is kept."""
    rows: list[tuple[Any, ...]] = list(numbered(250))
    rows[bad] = ("not a number", "x")
    with make_pool(autocommit=autocommit).handler() as db:
        with pytest.raises(psycopg2.errors.InvalidTextRepresentation) as caught:
            db.executemany(INSERT, rows)
        assert isinstance(caught.value, pgdbpool.DBQueryError)
        assert rows_of(server, TABLE) == []
        db.rollback()
        db.query(INSERT, (1, "after"))
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.handler.1", "7.p1.5")
@pytest.mark.parametrize(("row", "kind"), [((1,), IndexError), ((1, object()), psycopg2.ProgrammingError)])
def test_a_row_that_cannot_be_sent(make_pool: Any, server: Server, row: Any, kind: type[Exception]) -> None:
    """A row without all parameters, or one that cannot be adapted, raises its class and undoes the pages before."""
    with make_pool().handler() as db, pytest.raises(kind) as caught:
        db.executemany(INSERT, [*numbered(150), row])
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.handler.1")
def test_an_iterable_that_raises(make_pool: Any, server: Server) -> None:
    """An exception of the iterable passes, and undoes the pages before."""

    def rows() -> Iterator[tuple[int, str]]:
        yield from numbered(150)
        raise ValueError("mine")

    with make_pool().handler() as db, pytest.raises(ValueError, match="mine"):
        db.executemany(INSERT, rows())
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.handler.2")
def test_it_is_part_of_the_handlers_transaction(make_pool: Any, server: Server) -> None:
    """With autocommit off ``executemany`` commits nothing: ``rollback`` undoes it, also as the first statement."""
    with make_pool(autocommit=False).handler() as db:
        db.executemany(INSERT, numbered(150))
        assert rows_of(server, TABLE) == []
        db.rollback()
        db.executemany(INSERT, numbered(3))
    assert rows_of(server, TABLE) == [0, 1, 2]
    with pytest.raises(ValueError), make_pool(autocommit=False).handler() as db:
        db.executemany(f"UPDATE {TABLE} SET id = id + %s WHERE note <> %s", [(10, "")])
        raise ValueError
    assert rows_of(server, TABLE) == [0, 1, 2]


def _broken_off() -> Iterator[tuple[Any, ...]]:
    yield from numbered(120)
    raise ValueError("mine")


@pytest.mark.contract("2.call.transaction.1", "4.commit-of-a.1")
@pytest.mark.parametrize("make_rows", [lambda: [*numbered(120), (0, "x")], lambda: [*numbered(120), (1,)], _broken_off])
@pytest.mark.parametrize("before", [0, 1])
def test_never_half_of_it_within_a_transaction(make_pool: Any, server: Server, make_rows: Any, before: int) -> None:
    """In a block whose failed ``executemany`` was swallowed, none of its rows is committed: rejected, unsent or broken off."""
    with suppress(psycopg2.errors.InFailedSqlTransaction), make_pool().transaction() as db:
        for _ in range(before):
            db.query(INSERT, (1000, "before"))
        with pytest.raises((psycopg2.errors.UniqueViolation, IndexError, ValueError)):
            db.executemany(INSERT, make_rows())
    assert rows_of(server, TABLE) in ([], [1000])


@pytest.mark.contract("2.p2.3")
@pytest.mark.parametrize("text", [f"{INSERT};", f"{INSERT} -- a comment", f"{INSERT}; -- a comment", INSERT.encode()])
def test_ends_of_a_text(make_pool: Any, server: Server, text: Any) -> None:
    """A text may end in a semicolon or in a comment."""
    with make_pool().handler() as db:
        db.executemany(text, numbered(3))
    assert rows_of(server, TABLE) == [0, 1, 2]


@pytest.mark.contract("2.p2.3")
def test_positions_refer_to_the_users_text(make_pool: Any) -> None:
    """The position and LINE of an error count in the text, not in the message that carries many rows."""
    text = f"INSERT INTO {TABLE} (id)\nVALUES (%s::int)"
    with make_pool().handler() as db, pytest.raises(psycopg2.errors.InvalidTextRepresentation) as caught:
        db.executemany(text, [("1",), ("2",), ("x",), ("4",)])
    assert "LINE 2: VALUES ('x'::int)" in str(caught.value)
    assert caught.value.diag.statement_position == str(text.index("%s") + 1)


@pytest.mark.contract("4.a-write-that.5")
def test_a_loss_on_the_way(make_pool: Any, server: Server) -> None:
    """A connection lost between two pages raises DBConnectionError, and nothing is kept."""
    with make_pool().handler() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()

        def rows() -> Iterator[tuple[int, str]]:
            yield from numbered(150)
            kill(server, pid)
            yield from [(number, "x") for number in range(150, 300)]

        with pytest.raises(pgdbpool.DBConnectionError):
            db.executemany(INSERT, rows())
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.a-write-that.3")
def test_a_lost_commit_is_in_doubt(make_pool: Any, wire: Wire) -> None:
    """In autocommit, a lost answer to its COMMIT is an InDoubt."""
    wire.lose_answer("COMMIT")
    with make_pool(wire.config()).handler() as db, pytest.raises(pgdbpool.InDoubt):
        db.executemany(INSERT, numbered(3))
