"""Opening and cleaning, off the request path: two workers for each server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from pgdbpool.config import GroupOptions
from pgdbpool.driver.session import Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.group import Group
from pgdbpool.engine.timing import Timing
from pgdbpool.engine.worker import Worker
from pgdbpool.waiting import Shelf, Slot

T = TypeVar("T")

_KNOCK = 0.3  # seconds
_MOMENT = 0.1  # seconds until a server that somebody else is dialling is looked at again


@dataclass(frozen=True, eq=False)
class Stock:
    """What one group keeps at one server; how long its connections were held, and statements took."""

    group: Group
    shelf: Shelf
    options: GroupOptions
    hold: Timing = field(default_factory=Timing)
    statement: Timing = field(default_factory=Timing)

    def settle(self, now: float) -> None:
        """Count what was noted on the hot path."""
        for timing in (self.hold, self.statement, self.group.wait):
            timing.settle(now)

    def restart(self) -> None:
        self.hold.restart()
        self.statement.restart()


class Keeper:
    """Has the engine open, clean and close for one server, each one after the other, in the background.

    One connection is opened at a time, for the groups in turn: a server that comes back meets a queue, not a stampede;
    and whether another is wanted is asked before each attempt, because connections that were given back meanwhile may
    have served everybody.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        stocks: list[Stock],
        connect: Callable[[Stock], None],
        clean: Callable[[Slot], None],
        bury: Callable[[Session], None],
    ) -> None:
        self._endpoint = endpoint
        self._stocks = stocks
        self._connect = connect
        self._clean = clean
        self._bury = bury
        self._soiled: deque[Slot] = deque()
        self._gone: deque[Session] = deque()
        self._at_work: Slot | None = None
        self.opener = Worker(f"pgdbpool-open-{endpoint.label}", self._open_one)
        self.cleaner = Worker(f"pgdbpool-clean-{endpoint.label}", self._tidy)

    def clean(self, slot: Slot) -> None:
        self._soiled.append(slot)
        self.cleaner.nudge()

    def has(self, slot: Slot) -> bool:
        """Whether it is being cleaned, or will be."""
        return slot is self._at_work or slot in self._soiled

    def close(self, session: Session) -> None:
        self._gone.append(session)
        self.cleaner.nudge()

    def drain(self, patience: float) -> list[Slot]:
        """At the end of the pool: nothing is cleaned any more, only closed. Returns what was to be cleaned."""
        self.cleaner.stop(patience)
        self._close_gone()
        return list(drained(self._soiled))

    def after_fork_in_child(self) -> None:
        self._soiled.clear()
        self._gone.clear()
        self.opener.after_fork()
        self.cleaner.after_fork()

    def _open_one(self) -> float | None:
        if not any(each.group.wants(each.shelf) for each in self._stocks):
            return None
        if not self._endpoint.dial():
            return min(self._endpoint.delay() or _MOMENT, _KNOCK)
        try:
            stock = next((each for each in self._stocks if each.group.reserve(each.shelf)), None)
            if stock is None:
                return None
            self._stocks.append(self._stocks.pop(self._stocks.index(stock)))  # the next group's turn
            self._connect(stock)
            return 0.0
        finally:
            self._endpoint.hang_up()

    def _tidy(self) -> None:
        self._close_gone()
        for slot in drained(self._soiled):
            self._at_work = slot
            self._clean(slot)
            self._close_gone()
        self._at_work = None

    def _close_gone(self) -> None:
        for session in drained(self._gone):
            self._bury(session)


def drained(tasks: deque[T]) -> Iterator[T]:
    """The tasks, taken one by one: several threads may do so at once."""
    with suppress(IndexError):
        while True:
            yield tasks.popleft()
