"""Opening and cleaning, off the request path: two workers for each server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from pgdbpool.config import GroupOptions
from pgdbpool.driver.cleaning import clean
from pgdbpool.driver.failures import understand
from pgdbpool.driver.opening import open_session, statement_limit
from pgdbpool.driver.session import Session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.group import Group
from pgdbpool.engine.guard import Grip
from pgdbpool.engine.worker import Worker
from pgdbpool.waiting import Shelf, Slot, lifetime

__all__ = ["Cleaner", "Opener", "Stock", "clean_slot", "drained", "open_slot"]

T = TypeVar("T")

_FOREVER = float("inf")


@dataclass(frozen=True, eq=False)
class Stock:
    """What one group keeps at one server."""

    group: Group
    shelf: Shelf
    options: GroupOptions


def open_slot(endpoint: Endpoint, stock: Stock, *told: Callable[[Session], None]) -> Slot:
    """Connect, and enter the connection into the books as a slot in CLEANING; raises what connecting raises."""
    options = stock.options
    with forking.connecting():
        session = open_session(endpoint.options, options, endpoint.quirks, *told)
    now = monotonic()
    limit = (
        lifetime(options.max_lifetime, endpoint.connects, stock.shelf.capacity) if options.max_lifetime else _FOREVER
    )
    poll = session.poll if options.validate != "never" else bool  # bool(0) is false: never looked at
    slot = Slot(stock.shelf, session, poll, now, now + limit)
    slot.grip = Grip()
    return slot


def clean_slot(slot: Slot, options: GroupOptions, endpoint: Endpoint) -> bool:
    limit = statement_limit(endpoint.options, options) / 1000 or 5.0
    return clean(slot.resource, min(limit, 5.0), reset=options.reset != "never")


class Opener:
    """Opens one connection at a time to its server, for the groups in turn, while one is wanted.

    One at a time: a server that comes back meets a queue, not a stampede; and what is still wanted is asked again
    before each attempt, because connections that were given back meanwhile may have served everybody.
    """

    def __init__(self, endpoint: Endpoint, stocks: list[Stock], bury: Callable[[Session], None]) -> None:
        self.endpoint = endpoint
        self._bury = bury
        self.stocks = stocks
        self.nascent: Session | None = None
        self.worker = Worker(f"pgdbpool-open-{endpoint.label}", self._round)

    def _round(self) -> float | None:
        stock = next((each for each in self.stocks if each.group.wants(each.shelf)), None)
        if stock is None:
            return None
        if not stock.group.reserve(stock.shelf):
            return 0.0
        if pause := self.endpoint.claim():
            stock.group.unreserve(stock.shelf)
            return pause
        self.stocks.append(self.stocks.pop(self.stocks.index(stock)))  # the next group's turn
        self._open(stock)
        return 0.0

    def _open(self, stock: Stock) -> None:
        try:
            slot = open_slot(self.endpoint, stock, self._born, self._bury)
        except Exception as error:
            failure = understand(error)
            self.endpoint.refused(error, failure)
            stock.group.give_up(stock.shelf, error if failure.permanent else None, monotonic() + self.endpoint.delay())
        except BaseException:
            stock.group.give_up(stock.shelf)
            raise
        else:
            self.endpoint.connected()
            stock.group.add(slot)
        finally:
            self.nascent = None

    def after_fork_in_child(self) -> Session | None:
        """Forget the parent's session; returns it for /dev/null."""
        theirs, self.nascent = self.nascent, None
        self.worker.after_fork()
        return theirs

    def _born(self, session: Session) -> None:
        self.nascent = session


class Cleaner:
    """Resets what was soiled and closes what is gone, one after the other, for one server."""

    def __init__(self, endpoint: Endpoint, bury: Callable[[Session], None]) -> None:
        self.endpoint = endpoint
        self._bury = bury
        self._soiled: deque[tuple[Stock, Slot]] = deque()
        self._gone: deque[Session] = deque()
        self.worker = Worker(f"pgdbpool-clean-{endpoint.label}", self._round)

    def clean(self, stock: Stock, slot: Slot) -> None:
        self._soiled.append((stock, slot))
        self.worker.nudge()

    def close(self, session: Session) -> None:
        self._gone.append(session)
        self.worker.nudge()

    def close_all(self) -> None:
        """At the end of the pool: nothing is cleaned any more, only closed."""
        self.worker.stop(0.1)
        self._close_gone()
        for stock, slot in drained(self._soiled):
            stock.group.discard(slot)

    def after_fork_in_child(self) -> None:
        self._soiled.clear()
        self._gone.clear()
        self.worker.after_fork()

    def _round(self) -> float | None:
        self._close_gone()
        for stock, slot in drained(self._soiled):
            self._clean(stock, slot)
            self._close_gone()
        return None

    def _close_gone(self) -> None:
        for session in drained(self._gone):
            self._bury(session)

    def _clean(self, stock: Stock, slot: Slot) -> None:
        cleaned = False
        try:
            cleaned = clean_slot(slot, stock.options, self.endpoint)
        finally:
            if cleaned:
                stock.group.restore(slot)
            else:
                stock.group.condemn(slot.shelf, slot.generation)
                stock.group.discard(slot)


def drained(tasks: deque[T]) -> Iterator[T]:
    """The tasks, taken one by one: several threads may do so at once."""
    with suppress(IndexError):
        while True:
            yield tasks.popleft()
