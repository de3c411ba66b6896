"""The assembly of one pool: its servers, groups and threads; start, close, fork."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic, sleep

from pgdbpool.config import GroupOptions, PoolOptions
from pgdbpool.driver.guarded import take_back
from pgdbpool.driver.session import Session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.group import Group, Hooks
from pgdbpool.engine.keeper import Cleaner, Opener, Stock
from pgdbpool.engine.loans import Loans
from pgdbpool.engine.monitor import Monitor
from pgdbpool.engine.owners import present_owner
from pgdbpool.engine.sentences import explained, holders
from pgdbpool.engine.watch import Watch
from pgdbpool.engine.worker import Worker
from pgdbpool.waiting import BORROWED, Shelf, Slot

__all__ = ["Engine"]

log = logging.getLogger("pgdbpool.engine")

_AT_EXIT = 0.4  # seconds that borrowed connections have at interpreter exit


class Engine:
    """Everything below the public names, for ``type: threaded``."""

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self.endpoints = [Endpoint(each) for each in options.endpoints]
        self.openers = [Opener(endpoint) for endpoint in self.endpoints]
        self.stocks: list[Stock] = []
        self.monitors: list[Monitor] = []
        self._watch = Watch(self.stocks, self.openers, self.monitors)
        closed = self._watch.closed_sessions
        self.cleaners = [Cleaner(endpoint, closed) for endpoint in self.endpoints]
        self.monitors.extend(Monitor(endpoint, self.probing_options(), closed) for endpoint in self.endpoints)
        self.groups = {name: self._group(each) for name, each in options.groups.items()}
        self.loans = Loans()
        self._watcher = Worker("pgdbpool-watch", self._watch.tick)
        self.orphans = self._watch.orphans
        # Guards _started and _closed. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        self._drained = False  # set last, by the closing thread: the duplicates have no other owner any more
        forking.register(self)
        _living.add(self)

    def _group(self, options: GroupOptions) -> Group:
        shelves = [Shelf(endpoint, options.connection_count, options.min_connections) for endpoint in self.endpoints]
        hooks = Hooks(grow=self._grow, prove=self._prove, clean=self._clean, close=self._close_slot, explain=explained)
        ping_after = {"always": -1.0, "never": float("inf"), "auto": options.ping_after}[options.validate]
        group = Group(options.name, shelves, hooks, ping_after=ping_after, max_waiting=options.max_waiting)
        for opener, shelf in zip(self.openers, shelves, strict=True):
            stock = Stock(group, shelf, options)
            opener.stocks.append(stock)
            self.stocks.append(stock)
        return group

    # -- what the groups ask for ------------------------------------------------------------------------------------

    def _grow(self, shelf: Shelf) -> None:
        self.start()
        self.openers[self.endpoints.index(shelf.source)].worker.nudge()

    def _clean(self, slot: Slot) -> None:
        stock = next(each for each in self.stocks if each.shelf is slot.shelf)
        self.cleaners[self.endpoints.index(slot.shelf.source)].clean(stock, slot)

    def _close_slot(self, slot: Slot) -> None:
        if self._closed:  # no thread will do it
            slot.resource.close()
            self._watch.closed_sessions.append(slot.resource)
            if self._drained:
                self._watch.let_go()
            return
        self.cleaners[self.endpoints.index(slot.shelf.source)].close(slot.resource)

    def _prove(self, slot: Slot, limit: float) -> bool:
        session = slot.resource
        if session.lost or (session.poll(0) and session.hung_up()):
            return False
        if not limit or session.answers(limit):
            return True
        if session.cut:  # silent, not hung up: asking its neighbours would cost as much each
            stock = next(each for each in self.stocks if each.shelf is slot.shelf)
            stock.group.condemn(slot.shelf, slot.generation)
            stock.group.purge(slot.shelf)
        return False

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what runs in the background, once per process (a fork's child starts its own at its first checkout)."""
        with self._lock:
            if self._started or self._closed:
                return
            self._started = True
        self._watcher.nudge()
        for opener in self.openers:
            opener.worker.nudge()
        for monitor in self.monitors:
            monitor.worker.nudge()

    def probing_options(self) -> GroupOptions:
        """The first group's options for a connection of the pool's own: nothing of the user's is set on it."""
        first = next(iter(self.options.groups.values()))
        return replace(first, application_name="pgdbpool:monitor", settings={}, on_connect=None, query_timeout=0)

    @contextmanager
    def watched(self, session: Session) -> Iterator[None]:
        """Have the Watch cut this session too when it outlives its deadline; closes it at the end."""
        self._watch.guests.append(session)
        self._watcher.nudge()
        try:
            yield
        finally:
            self._watch.guests.remove(session)
            session.close()
            self._watch.closed_sessions.append(session)
            if self._drained:
                self._watch.let_go()

    def ready(self) -> bool:
        """Whether every group has its minimum to each server, and at least one connection."""
        for group in self.groups.values():
            with group.frozen() as (shelves, _waiting, _tally):
                counts = [(len(shelf.members), shelf.minimum) for shelf in shelves]
            if not any(have for have, _ in counts) or any(have < minimum for have, minimum in counts):
                return False
        return True

    def describe(self) -> str:
        return "; ".join(endpoint.describe() for endpoint in self.endpoints)

    def last_error(self) -> BaseException | None:
        return next((each.last_error for each in self.endpoints if each.last_error is not None), None)

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
        for worker in [each.worker for each in (*self.openers, *self.monitors)]:
            worker.stop()
        self._wait_for_borrowed(monotonic() + timeout)
        self._watcher.stop()
        self._shut_the_rest()
        for monitor in self.monitors:
            monitor.close()
        self._drain()

    def close_in_background(self, timeout: float) -> None:
        threading.Thread(target=self.close, args=(timeout,), name="pgdbpool-close", daemon=True).start()

    def _wait_for_borrowed(self, deadline: float) -> None:
        while any(group.members() for group in self.groups.values()) and monotonic() < deadline:
            sleep(0.005)

    def _shut_the_rest(self) -> None:
        for group in self.groups.values():
            held = [slot for slot in group.members() if slot.state is BORROWED]
            for line in holders(held):
                log.warning("group %r closed while a connection was borrowed %s", group.name, line)
            for slot in group.members():
                slot.resource.shut_down("the pool was closed")

    def _drain(self) -> None:
        """Close what the cleaners still have, here: at interpreter exit no thread may be left to do it."""
        for cleaner in self.cleaners:
            cleaner.close_all()
        self._drained = True
        self._watch.let_go()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        theirs = [session for group in self.groups.values() for session in group.after_fork_in_child()]
        theirs += [part.after_fork_in_child() for part in (*self.openers, *self.monitors)]
        self._inherited = [session for session in theirs if session is not None]  # kept: no destructor may run on them
        for session in self._inherited:
            take_back(session.raw)
            session.abandon()
        for part in (*self.endpoints, *self.cleaners, self._watch):
            part.after_fork_in_child()
        self._watcher.after_fork()
        self.loans.after_fork_in_child()
        present_owner().transactions.clear()


_living: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At interpreter exit; a frozen server must not hold it up."""
    deadline = monotonic() + _AT_EXIT
    for engine in list(_living):
        engine.close(max(0.0, deadline - monotonic()))
