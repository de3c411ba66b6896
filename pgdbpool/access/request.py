"""What a thread does for one client: until when it may, what it holds meanwhile, and how the database failed it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from time import monotonic
from typing import Any, Protocol, TypeVar

import psycopg2

from pgdbpool.driver.session import limit_of
from pgdbpool.engine.events import Events
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner, describe, present_owner
from pgdbpool.errors import DBConnectionError, InDoubt, PoolClosed, PoolTimeout, TooManyRequests
from pgdbpool.waiting import Slot

log = logging.getLogger("pgdbpool.wsgi")

UNAVAILABLE = (PoolTimeout, TooManyRequests, DBConnectionError, PoolClosed)
_CANCELED = "57014"
_LONGEST = 2**31 - 1  # milliseconds that PostgreSQL takes
_FOREVER = float("inf")

E = TypeVar("E", bound=Exception)


class Lender(Protocol):
    """Where a connection was taken."""

    group: Group
    events: Events


class Request:
    """One request, with a deadline of so many seconds from now; one that is served within another ends with that at the latest.

    It counts in the thread that is in its ``under_way()``: a server may have a thread serve several by turns. ``error``
    is the last that said that the database is exhausted or away, or that time is up; after an ``InDoubt`` it stays that.
    """

    __slots__ = ("_began", "_born", "_ends", "_held", "_outer", "_seconds", "error")

    def __init__(self, seconds: float | None) -> None:
        self._born = self._began = monotonic()
        self._seconds = seconds
        self._ends = _FOREVER if seconds is None else self._began + seconds
        self._held: dict[Slot, tuple[int, Lender, Owner]] = {}
        self.error: Exception | None = None
        outer: Request | None = present_owner().request
        self._outer = outer
        if outer is not None and outer._ends < self._ends:
            self._began, self._seconds, self._ends = outer._began, outer._seconds, outer._ends

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return monotonic() - self._born

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """What the calling thread does in this block, it does for this request."""
        owner = present_owner()
        before, owner.request = owner.request, self
        try:
            yield
        finally:
            owner.request = before

    # -- the deadline -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises ``PoolTimeout`` when the deadline is over."""
        if (now := monotonic()) >= self._ends:
            ago = f"it began {now - self._began:.2f} s ago"
            error = PoolTimeout(f"the request's deadline of {self._seconds:g} s is over: {ago}")
            self.note(error)
            raise error

    def patience(self, seconds: float) -> float:
        """How long it may wait that would wait so long. Raises ``PoolTimeout`` as ``check``."""
        self.check()
        return min(seconds, self._ends - monotonic())

    def answer_in(self, query_timeout: int) -> int:
        """The limit in milliseconds of a statement that would have this one (0: none)."""
        if self._ends == _FOREVER:
            return query_timeout
        left = min(max(1, ceil((self._ends - monotonic()) * 1000)), _LONGEST)
        return min(query_timeout or left, left)

    def went_on(self) -> None:
        """It got a connection after all: what had failed before was dealt with."""
        if not isinstance(self.error, InDoubt):
            self.error = None
        if self._outer is not None:
            self._outer.went_on()

    def note(self, error: Exception) -> None:
        """This was raised in it, and so in the one that it is served within."""
        if self._outer is not None:
            self._outer.note(error)
        late = getattr(error, "pgcode", None) == _CANCELED and monotonic() >= self._ends
        if (late or isinstance(error, (*UNAVAILABLE, InDoubt))) and not isinstance(self.error, InDoubt):
            self.error = error

    # -- what it holds ------------------------------------------------------------------------------------------------

    def took(self, slot: Slot, desk: Lender, owner: Owner) -> None:
        """That thread holds this connection, for longer than one statement."""
        self._held[slot] = slot.turn, desk, owner

    def end(self) -> None:
        """Take back what it has not given back; it bounds nothing any more."""
        self._ends, self.error = _FOREVER, None
        held, self._held = self._held, {}
        for slot, (turn, desk, owner) in held.items():
            holder = None if slot.holder is None else slot.holder()
            if slot.owner is not owner or (holder is not None and holder._is_handed_over):
                continue
            place = describe(slot.place)
            if desk.group.take_back(slot, turn):
                text = f"backend {slot.resource.backend_pid} taken back: its request has ended; borrowed at {place}"
                desk.events.tell(log, "taken back", desk.group.name, text)
                for each in [each for each, transaction in owner.transactions.items() if _is_over(transaction())]:
                    owner.transactions.pop(each, None)


def _is_over(transaction: Any) -> bool:
    return transaction is None or not transaction.lease.lasts()


def present_request() -> Request | None:
    """What the calling thread does at present."""
    request: Request | None = present_owner().request
    return request


def refuse_late_commit(roll_back: Callable[[], object]) -> None:
    """Raises ``PoolTimeout`` when the present request's deadline is over; what is open is rolled back before."""
    try:
        if (request := present_request()) is not None:
            request.check()
    except PoolTimeout:
        with suppress(psycopg2.Error):  # a lost connection is found at release
            roll_back()
        raise


def bounded(limit: float) -> float:
    """How many seconds a call on psycopg2's own connection may take that would have this limit (0: none); raises the same."""
    request = present_request()
    if request is None:
        return limit
    request.check()
    left = limit_of(request.answer_in(0))
    return min(limit or left, left) if left else limit


def noted(error: E) -> E:
    """The error, which the present request takes down."""
    if (request := present_request()) is not None:
        request.note(error)
    return error
