"""The engine without threads and locks, for one thread per process: whoever asks does the work."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from pgdbpool.config import PoolOptions
from pgdbpool.driver.failures import understand
from pgdbpool.driver.guarded import take_back
from pgdbpool.driver.session import Session
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.group import Group
from pgdbpool.engine.keeper import clean_slot, open_slot
from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.engine.sentences import holders
from pgdbpool.waiting import Shelf, Slot

__all__ = ["Single"]

log = logging.getLogger("pgdbpool.engine")


class NoLock:
    """Where there is one thread, nobody needs to be kept out."""

    __slots__ = ()

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class SingleGroup(Group):
    """A group whose checkout opens what it lacks, in place of waiting for somebody to give one back."""

    make_lock = NoLock
    open_one: Callable[[Shelf], None]
    tidy: Callable[[], None]
    _tidied = 0.0

    def release(self, slot: Slot, owner: Owner, soiled: bool = False) -> None:
        super().release(slot, owner, soiled)
        if slot.since > self._tidied + 1:
            self._tidied = slot.since
            self.tidy()

    def _queue(self, owner: Owner, since: float, deadline: float, *, again: bool = False) -> Slot:
        self.tidy()
        shelf = self.shelves[0]
        while True:
            refusal = self._refusal(owner)
            if refusal is not None:
                self._fail(refusal, since)
            if self.reserve(shelf, asked=True):
                self.open_one(shelf)
            slot = self._pop_idle()
            if slot is not None:
                slot.owner = owner
                slot.since = monotonic()
                slot.turn += 1
                return slot
            patience = deadline - monotonic()
            if patience <= 0:
                self._fail(None, since)
            sleep(min(shelf.source.delay() or 0.001, patience))


class Single(Engine):
    """``type: non-threaded``. TCP's own limits are the only ones on a silent server: see ``explain()``."""

    group_class = SingleGroup

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options)
        for group in self.groups.values():
            assert isinstance(group, SingleGroup)
            group.open_one, group.tidy = self.open_one, self._tidy
        self._closed = False
        _living.add(self)

    def grow(self, shelf: Shelf) -> None:
        """Nothing: the next checkout opens what it lacks."""

    def open_one(self, shelf: Shelf) -> None:
        """Open the connection that was reserved, if its server may be dialled now."""
        endpoint = shelf.source
        stock = next(each for each in self.stocks if each.shelf is shelf)
        if endpoint.claim():
            stock.group.unreserve(shelf)
            return
        try:
            slot = open_slot(endpoint, stock)
        except Exception as error:
            failure = understand(error)
            endpoint.refused(error, failure)
            stock.group.give_up(shelf, error if failure.permanent else None, monotonic() + endpoint.delay())
        else:
            slot.grip = NoLock()
            endpoint.connected()
            stock.group.add(slot)

    def clean(self, slot: Slot) -> None:
        stock = self.stock_of(slot)
        if clean_slot(slot, stock.options, slot.shelf.source):
            stock.group.restore(slot)
        else:
            stock.group.discard(slot)

    def _tidy(self) -> None:
        """What the Watch does elsewhere: take back what was dropped, let the old go."""
        for stock in self.stocks:
            for slot in stock.group.members():
                if slot.holder is not None and slot.holder() is None:
                    take_back(slot.resource.raw)
                    stock.group.take_back(slot, slot.turn)
            for old in stock.group.retire(monotonic(), stock.options.max_idle):
                stock.group.discard(old)

    def close_slot(self, slot: Slot) -> None:
        slot.resource.end()

    def start(self) -> None:
        for stock in self.stocks:
            while not self._closed and stock.group.reserve(stock.shelf):
                self.open_one(stock.shelf)
                if stock.shelf.source.health != "up":
                    break

    @contextmanager
    def watched(self, session: Session) -> Iterator[None]:
        try:
            yield
        finally:
            session.end()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, timeout: float) -> None:
        self._closed = True
        for group in self.groups.values():
            for slot in group.close():
                group.discard(slot)
            for line in holders(group.members()):
                log.warning("group %r closed while a connection was borrowed %s", group.name, line)
            for slot in group.members():
                slot.resource.shut_down("the pool was closed")  # whoever has it gives it back, and it is closed then

    def close_in_background(self, timeout: float) -> None:
        self.close(timeout)

    def after_fork_in_child(self) -> None:
        self._inherited: list[Any] = [each for group in self.groups.values() for each in group.after_fork_in_child()]
        for session in self._inherited:
            take_back(session.raw)
            session.abandon()
        for endpoint in self.endpoints:
            endpoint.after_fork_in_child()
        self.loans.after_fork_in_child()
        present_owner().transactions.clear()


_living: weakref.WeakSet[Single] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for engine in list(_living):
        engine.close(0)
