"""Rows of a query that does not fit into memory, by a cursor on the server."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pgdbpool.access.dialogue import IDLE
from pgdbpool.access.rows import Row, row_class
from pgdbpool.errors import DBQueryError

if TYPE_CHECKING:
    from pgdbpool.access.lease import Lease

__all__ = ["Stream"]


class Stream:
    """An iterator of rows, ``size`` fetched at a time. ``close()`` ends it early.

    ``own``: its transaction was opened for it, and ends with it.
    """

    __slots__ = ("__weakref__", "_ahead", "_epoch", "_lease", "_more", "_name", "_row", "_size", "_turn", "own")

    def __init__(self, lease: Lease, name: str, size: int, own: bool) -> None:
        self._lease = lease
        self._turn = lease.turn
        self._epoch = lease.dialogue.epoch
        self._name = name
        self._size = size
        self._ahead: deque[Row] = deque()
        self._more = True
        self._row: type[Row] | None = None
        self.own = own

    @property
    def is_open(self) -> bool:
        """Whether its cursor still stands on the server."""
        lease = self._lease
        return self._more and lease.is_held(self._turn) and lease.dialogue.epoch == self._epoch

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Row:
        if not self._ahead and self._more:
            self._fetch()
        if not self._ahead:
            raise StopIteration
        return self._ahead.popleft()

    def _fetch(self) -> None:
        with self._lease.at_work(self._turn) as dialogue:
            try:
                cursor = dialogue.send(f"FETCH FORWARD {self._size:d} FROM {self._name}")
            except DBQueryError:
                self._end()
                raise
            rows = cursor.fetchall()
            if self._row is None:
                self._row = row_class(tuple(column.name for column in cursor.description))
            self._ahead.extend(map(self._row, rows))
            if len(rows) < self._size:
                self._end()

    def close(self) -> None:
        """End it before its last row; nothing if it has ended already."""
        self._ahead.clear()
        if self.is_open:
            with self._lease.at_work(self._turn):
                self._end()

    def _end(self) -> None:
        dialogue, still_open = self._lease.dialogue, self.is_open
        self._more = False
        if still_open and dialogue.status != IDLE and not dialogue.failed:
            dialogue.send(f"CLOSE {self._name}")
        if self.own and still_open:
            dialogue.end(commit=not dialogue.failed)
