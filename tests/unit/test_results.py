"""What a statement answered reads like a cursor (contract §2)."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import psycopg2
import pytest

from pgdbpool.access.results import Result
from pgdbpool.access.rows import Row
from pgdbpool.errors import NoRow, TooManyRows


class Column(NamedTuple):
    name: str
    type_code: int = 23


class Cursor:
    """What psycopg2's cursor is after a statement; ``names=None``: it had no rows to give."""

    def __init__(self, names: tuple[str, ...] | None, rows: list[tuple[Any, ...]], status: str) -> None:
        self.description = None if names is None else tuple(Column(name) for name in names)
        self.rowcount = len(rows)
        self.statusmessage = status
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        assert self.description is not None, "no results to fetch"
        rows, self._rows = self._rows, []
        return rows


def result(*rows: tuple[Any, ...], names: tuple[str, ...] = ("id", "name")) -> Result:
    return Result(Cursor(names, list(rows), f"SELECT {len(rows)}"))


def five() -> Result:
    return result(*[(n, f"n{n}") for n in range(5)])


def without_rows() -> Result:
    return Result(Cursor(None, [], "UPDATE 3"))


@pytest.mark.contract("2.p3.1")
def test_a_result_has_what_the_cursor_had() -> None:
    """``rowcount``, ``description`` and ``statusmessage`` are psycopg2's; ``columns`` are the names, ``len`` the rows."""
    one = five()
    assert (one.rowcount, one.statusmessage, one.columns, len(one)) == (5, "SELECT 5", ("id", "name"), 5)
    assert [column.type_code for column in one.description] == [23, 23]
    assert repr(one) == "<Result SELECT 5 rowcount=5>"


@pytest.mark.contract("2.p3.3")
def test_a_result_needs_its_cursor_no_more() -> None:
    """All rows are taken from the cursor when the result is made."""
    cursor = Cursor(("id",), [(1,), (2,)], "SELECT 2")
    one = Result(cursor)
    assert cursor.fetchall() == []
    assert one.fetchall() == [(1,), (2,)]


@pytest.mark.contract("2.p3.1", "2.p3.2")
def test_every_way_of_fetching_gives_rows() -> None:
    """Whatever fetches gives rows with names."""
    one = five()
    first, many, looped = one.fetchone(), one.fetchmany(1), next(iter(one))
    rows = [first, *many, looped, next(one), *one.fetchall()]
    assert [row["id"] for row in rows if isinstance(row, Row)] == [0, 1, 2, 3, 4]


@pytest.mark.contract("2.p3.1")
def test_fetching_goes_on_where_iteration_was_left() -> None:
    """There is one position, as in a cursor: what a loop has seen is not fetched again."""
    one = five()
    for row in one:
        if row["id"] == 1:
            break
    assert one.fetchone() == (2, "n2")
    assert [row[0] for row in one] == [3, 4]
    assert (one.fetchone(), one.fetchmany(3), one.fetchall(), list(one)) == (None, [], [], [])


@pytest.mark.contract("2.p3.1")
def test_fetchmany() -> None:
    """``fetchmany`` gives as many as asked for, fewer at the end, and by default one, as a cursor does."""
    one = five()
    assert [[row[0] for row in one.fetchmany(size)] for size in (2, 0, 2, 2, 2)] == [[0, 1], [], [2, 3], [4], []]
    assert five().fetchmany() == [(0, "n0")]
    assert len(five().fetchmany(size=3)) == 3
    assert five().fetchmany(None) == [(0, "n0")]


def test_len_is_of_all_rows() -> None:
    """What was fetched still counts in ``len``."""
    one = five()
    one.fetchmany(3)
    assert (len(one), one.rowcount) == (5, 5)


@pytest.mark.contract("2.p3.1")
def test_one_row() -> None:
    """``one``, ``one_or_none`` and ``scalar`` give the only row, whatever was fetched before."""
    one = result((7, "a"))
    assert one.fetchall() == [(7, "a")]
    row = one.one()
    assert (row["name"], one.one_or_none(), one.scalar()) == ("a", (7, "a"), 7)


@pytest.mark.contract("2.p3.1")
def test_no_row() -> None:
    """Where no row came, ``one`` and ``scalar`` raise ``NoRow``, a LookupError, and ``one_or_none`` gives None."""
    for fetch in (result().one, result().scalar):
        with pytest.raises(NoRow, match="no row") as caught:
            fetch()
        assert isinstance(caught.value, LookupError)
    assert result().one_or_none() is None
    assert (result().fetchone(), result().fetchall(), len(result())) == (None, [], 0)


@pytest.mark.contract("2.p3.1")
def test_too_many_rows() -> None:
    """Where several rows came, all three raise ``TooManyRows``, a LookupError that says how many."""
    for fetch in (five().one, five().scalar, five().one_or_none):
        with pytest.raises(TooManyRows, match="5 rows") as caught:
            fetch()
        assert isinstance(caught.value, LookupError)


@pytest.mark.contract("2.p3.1")
@pytest.mark.parametrize(
    "way", ["fetchone", "fetchmany", "fetchall", "one", "one_or_none", "scalar", "__iter__", "__next__"]
)
def test_a_statement_without_rows_has_none_to_fetch(way: str) -> None:
    """Fetching from a statement that returns no rows raises ``psycopg2.ProgrammingError``, as a cursor does."""
    with pytest.raises(psycopg2.ProgrammingError, match="no results to fetch"):
        getattr(without_rows(), way)()


def test_a_statement_without_rows() -> None:
    """A statement that returns no rows has a status and neither columns nor a length."""
    one = without_rows()
    assert (one.columns, one.description, len(one), one.statusmessage) == ((), None, 0, "UPDATE 3")


def test_rows_without_columns() -> None:
    """``SELECT FROM t`` has rows, though they are empty."""
    one = result((), (), names=())
    assert (one.fetchall(), len(one), one.columns) == ([(), ()], 2, ())


@pytest.mark.contract("2.p3.2")
def test_equal_names_in_a_result() -> None:
    """Of equal column names the first wins; ``columns`` has both."""
    one = result((1, 2), names=("id", "id"))
    assert (one.columns, one.one()["id"]) == (("id", "id"), 1)


@pytest.mark.contract("2.p3.3")
@pytest.mark.parametrize("fetched", [0, 2])
def test_a_result_can_be_pickled(fetched: int) -> None:
    """A result is complete: it survives pickling, and goes on where it was."""
    one = five()
    one.fetchmany(fetched)
    again = pickle.loads(pickle.dumps(one))
    assert (again.rowcount, again.statusmessage, again.columns, len(again)) == (5, "SELECT 5", ("id", "name"), 5)
    assert [row["id"] for row in again] == list(range(fetched, 5))
    assert pickle.loads(pickle.dumps(without_rows())).description is None
