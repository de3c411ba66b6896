"""Rows of a query that does not fit into memory, by a cursor on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgdbpool.access.results import answer
from pgdbpool.access.rows import Row
from pgdbpool.errors import DBQueryError, PoolError

if TYPE_CHECKING:
    from pgdbpool.access.lease import Lease


class Stream:
    """An iterator of rows, ``size`` fetched at a time. ``close()`` ends it early."""

    __slots__ = ("__weakref__", "_dialogue", "_epoch", "_lease", "_more", "_name", "_page", "_size")

    def __init__(self, lease: Lease, name: str, size: int) -> None:
        self._lease = lease
        self._dialogue = lease.dialogue
        self._epoch = self._dialogue.epoch
        self._name = name
        self._size = size
        self._page: Iterator[Row] = iter(())
        self._more = True

    def _is_open(self) -> bool:
        """Whether its cursor still stands on the server."""
        lease, dialogue = self._lease, self._dialogue
        return self._more and lease.lasts() and lease.dialogue is dialogue and dialogue.epoch == self._epoch

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Row:
        row = next(self._page, None)
        if row is None:
            if not self._more:
                raise StopIteration
            self._fetch()
            row = next(self._page)
        return row

    def _fetch(self) -> None:
        with self._lease.at_work() as dialogue:
            if dialogue is not self._dialogue:
                raise PoolError("this belongs to an earlier use of its handler, which has ended")
            try:
                result = answer(dialogue.fetch(self._name, self._size))
            except DBQueryError:
                self._end()
                raise
            self._page = iter(result)
            if len(result) < self._size:
                self._end()

    def close(self) -> None:
        """End it before its last row; nothing if it has ended already."""
        self._page = iter(())
        if self._is_open():
            with self._lease.at_work():
                self._end()

    def _end(self) -> None:
        dialogue, still_open = self._dialogue, self._is_open()
        self._more = False
        if not still_open:
            return
        if dialogue.own_stream is not None:
            dialogue.end(commit=not dialogue.session.failed)
        elif not (dialogue.session.idle or dialogue.session.failed):
            dialogue.send(f"CLOSE {self._name}")
