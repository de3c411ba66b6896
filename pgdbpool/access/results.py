"""What a statement answered, complete in memory and independent of its connection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Any

import psycopg2

from pgdbpool.access.rows import Row, row_class
from pgdbpool.errors import DBQueryError, NoRow, TooManyRows

_name = attrgetter("name")


def answer(cursor: Any) -> Result:
    """The result of what was executed; ``DBQueryError`` says so where it cannot be read (a date before Christ, …)."""
    try:
        return Result(cursor)
    except Exception as error:
        said = {"message": f"the statement was executed, but its answer cannot be read: {error}"}
        raise DBQueryError.like(error, **(said if len(error.args) == 1 else {})) from error


class Result:
    """Reads like a cursor; ``one()``, ``one_or_none()`` and ``scalar()`` say what they expect.

    ``rowcount``, ``description`` and ``statusmessage`` are psycopg2's. Fetching from a statement without rows raises
    ``psycopg2.ProgrammingError``, as a cursor does.
    """

    __slots__ = ("_rest", "_rows", "columns", "description", "rowcount", "statusmessage")

    def __init__(self, cursor: Any) -> None:
        self.description = cursor.description
        self.rowcount: int = cursor.rowcount
        self.statusmessage: str | None = cursor.statusmessage
        self.columns: tuple[str, ...] = tuple(map(_name, self.description or ()))  # empty for a statement without rows
        self._rows: list[tuple[Any, ...]] | None = None if self.description is None else cursor.fetchall()
        self._rest = iter(self._rows or ())  # one position for every way of fetching, as a cursor has

    def fetchone(self) -> Row | None:
        """The next row, or None after the last."""
        self._fetchable()
        values = next(self._rest, None)
        return None if values is None else row_class(self.columns)(values)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next ``size`` rows (1, as a cursor's ``arraysize``), fewer at the end."""
        return list(islice(iter(self), 1 if size is None else size))

    def fetchall(self) -> list[Row]:
        """All rows that were not fetched yet."""
        return list(self)

    def one(self) -> Row:
        """The only row; ``NoRow`` or ``TooManyRows`` if there is not exactly one."""
        row = self.one_or_none()
        if row is None:
            raise NoRow("the statement returned no row, one was expected")
        return row

    def one_or_none(self) -> Row | None:
        """The only row, or None if there is none; ``TooManyRows`` if there are several."""
        rows = self._fetchable()
        if len(rows) > 1:
            raise TooManyRows(f"the statement returned {len(rows)} rows, one was expected")
        return row_class(self.columns)(rows[0]) if rows else None

    def scalar(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]

    def __len__(self) -> int:
        return len(self._rows or ())

    def __iter__(self) -> Iterator[Row]:
        self._fetchable()
        return map(row_class(self.columns), self._rest)

    def __next__(self) -> Row:
        return next(iter(self))

    def __repr__(self) -> str:
        return f"<Result {self.statusmessage} rowcount={self.rowcount}>"

    def _fetchable(self) -> list[tuple[Any, ...]]:
        if self._rows is None:
            raise psycopg2.ProgrammingError("no results to fetch")
        return self._rows
