"""The engine with threads: opening, cleaning, watching and probing happen beside the requests."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from pgdbpool.config import PoolOptions
from pgdbpool.driver.guarded import take_back
from pgdbpool.driver.session import Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.keeper import Cleaner, Opener, Stock
from pgdbpool.engine.monitor import Monitor
from pgdbpool.engine.owners import present_owner
from pgdbpool.engine.sentences import holders
from pgdbpool.engine.watch import Watch
from pgdbpool.engine.worker import Worker
from pgdbpool.waiting import Shelf, Slot

__all__ = ["Threaded"]

log = logging.getLogger("pgdbpool.engine")

_MOMENT = 0.1  # seconds that closing waits for a thread to end
_AT_EXIT = 0.4  # seconds that borrowed connections have at interpreter exit


class Threaded(Engine):
    """``type: threaded``."""

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options)
        self._watch = Watch(self.stocks)
        bury = self._watch.bury
        self.openers = [Opener(endpoint, self._stocks_at(endpoint), bury) for endpoint in self.endpoints]
        self._watch.openers = self.openers
        self.cleaners = [Cleaner(endpoint, bury) for endpoint in self.endpoints]
        self._watch.monitors = [Monitor(endpoint, self.probing_options(), bury) for endpoint in self.endpoints]
        self._watcher = Worker("pgdbpool-watch", self._watch.tick)
        # Guards _started and _closed. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        _living.add(self)

    def _stocks_at(self, endpoint: Endpoint) -> list[Stock]:
        return [stock for stock in self.stocks if stock.shelf.source is endpoint]

    # -- what the groups ask for ------------------------------------------------------------------------------------

    def grow(self, shelf: Shelf) -> None:
        self.start()
        self.openers[self.endpoints.index(shelf.source)].worker.nudge()

    def clean(self, slot: Slot) -> None:
        self.cleaners[self.endpoints.index(slot.shelf.source)].clean(self.stock_of(slot), slot)

    def close_slot(self, slot: Slot) -> None:
        if self._closed:  # no thread will do it
            self._watch.bury(slot.resource)
        else:
            self.cleaners[self.endpoints.index(slot.shelf.source)].close(slot.resource)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what runs in the background, once per process; a fork's child starts its own at its first checkout."""
        with self._lock:
            if self._started or self._closed:
                return
            self._started = True
        self._watcher.nudge()
        for opener in self.openers:
            opener.worker.nudge()
        for monitor in self._watch.monitors:
            monitor.worker.nudge()

    @contextmanager
    def watched(self, session: Session) -> Iterator[None]:
        """Have the Watch cut this session too when it outlives its deadline; closes it at the end."""
        self._watch.guests.append(session)
        self._watcher.nudge()
        try:
            yield
        finally:
            self._watch.guests.remove(session)
            self._watch.bury(session)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, timeout: float) -> None:
        """Refuse new work, wait for what is borrowed, shut the rest's sockets and say who held them. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for group in self.groups.values():
            for slot in group.close():
                group.discard(slot)
        for opener in self.openers:
            opener.worker.stop()
        for monitor in self._watch.monitors:
            monitor.stop()
        self._wait_for_borrowed(monotonic() + timeout)
        self._watcher.stop(_MOMENT)
        self._shut_the_rest()
        self._drain()

    def close_in_background(self, timeout: float) -> None:
        threading.Thread(target=self.close, args=(timeout,), name="pgdbpool-close", daemon=True).start()

    def _wait_for_borrowed(self, deadline: float) -> None:
        while any(group.members() for group in self.groups.values()) and monotonic() < deadline:
            sleep(0.005)

    def _shut_the_rest(self) -> None:
        for group in self.groups.values():
            held = [slot for slot in group.members() if slot.owner is not None]
            for line in holders(held):
                log.warning("group %r closed while a connection was borrowed %s", group.name, line)
            for slot in group.members():
                slot.resource.shut_down("the pool was closed")
        for opener in self.openers:
            if (nascent := opener.nascent) is not None:
                nascent.shut_down("the pool was closed")

    def _drain(self) -> None:
        """Close what the cleaners still have, here: at interpreter exit no thread may be left to do it."""
        for cleaner in self.cleaners:
            cleaner.close_all()
        self._watch.ended = True
        self._watch.let_go()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        theirs = [session for group in self.groups.values() for session in group.after_fork_in_child()]
        theirs += filter(None, [opener.after_fork_in_child() for opener in self.openers])
        theirs += filter(None, [monitor.after_fork_in_child() for monitor in self._watch.monitors])
        self._inherited = theirs  # kept: no destructor may run on them
        for session in theirs:
            take_back(session.raw)
            session.abandon()
        for endpoint in self.endpoints:
            endpoint.after_fork_in_child()
        for cleaner in self.cleaners:
            cleaner.after_fork_in_child()
        self._watch.after_fork_in_child()
        self._watcher.after_fork()
        self.loans.after_fork_in_child()
        present_owner().transactions.clear()


_living: weakref.WeakSet[Threaded] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At interpreter exit; a frozen server must not hold it up."""
    deadline = monotonic() + _AT_EXIT
    for engine in list(_living):
        engine.close(max(0.0, deadline - monotonic()))
