"""What a group holds: every connection in exactly one state, and who opens, closes and takes them back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgdbpool.engine.timing import Timing
from pgdbpool.errors import DBOfflineError, PoolClosed, PoolError
from pgdbpool.waiting import (
    CLEANING,
    GONE,
    IDLE,
    Need,
    Route,
    Shelf,
    Size,
    Slot,
    View,
    lags,
    outdated,
    superfluous,
    wanted,
)

if TYPE_CHECKING:
    from pgdbpool.engine.group import Group
    from pgdbpool.engine.owners import Owner

NOT_BORROWED = "this connection is not borrowed: it was given back, or taken back from a thread that ended"


@dataclass
class Hooks:
    """What a group asks others to do, always after its lock is released."""

    grow: Callable[[Shelf], None]  # connections may be wanted: have somebody call reserve() and then add()
    prove: Callable[[Slot, float], bool]  # is it alive? by SQL, within so many seconds, in the caller's thread
    clean: Callable[[Slot], None]  # reset it, then call restore() or discard()
    close: Callable[[Slot], None]  # it is out of the books: close it
    # the error for a wait that ended (None: by time)
    explain: Callable[[Group, Route, BaseException | None, float], PoolError]
    condemned: Callable[[Shelf], None] = lambda shelf: None  # one of its connections was found dead


@dataclass
class Tally:
    """Waits since the start: those that got a connection, and those that came to nothing; guarded by the group's lock."""

    waits: int = 0
    timeouts: int = 0
    errors: int = 0


class Books:
    """The slots of one group on their shelves, one shelf for each server, and the routes to them.

    While somebody waits, no slot that he may have is idle: it goes to whoever waited longest, so nobody can overtake.
    """

    make_lock: Callable[[], Any] = threading.Lock

    def __init__(self, name: str, shelves: list[Shelf], hooks: Hooks, needs: Sequence[Need], size: Size | None) -> None:
        self.name = name
        self.hooks = hooks
        self.shelves = shelves
        self.size = size
        self.closed = False
        self.wait = Timing()  # of those who did not get a connection at once, or at all
        self.routes = [Route(need) for need in dict.fromkeys(needs)]
        self.writing, self.reading = self.routes[0], self.routes[-1]
        self._restart()

    def _restart(self) -> None:
        # Guards the shelves, every slot's state, the routes and their lines, the size, the tally and `closed`. Held for a
        # few list operations only. Forbidden under it: I/O, logging, user code, hooks, any other lock. Waking a waiter is
        # allowed: it never blocks.
        self._lock = self.make_lock()
        for route in self.routes:
            route.line = deque()
        self.tally = Tally()
        self._aim()

    # -- who may serve whom -------------------------------------------------------------------------------------------

    def reroute(self, size: Size | None = None) -> None:
        """Something about the servers, or the group's ``size``, has changed: all that follows from it."""
        with self._lock:
            self.size = size or self.size
            self._aim()
            leaving = [slot for shelf in self.shelves for slot in self._withdraw(*superfluous(shelf, 0.0, 0.0))]
            for route in self.routes:
                while route.line and (stack := route.only or route.choose()):
                    self._hand_over(stack.pop(), monotonic())
            self._send_home()
            growing = [shelf for shelf in self.shelves if self._wants(shelf)]
        for slot in leaving:
            self.discard(slot)
        for shelf in growing:
            self.hooks.grow(shelf)

    def _aim(self) -> None:
        """Under the lock."""
        for shelf in self.shelves:
            shelf.seen = _seen_from(shelf)
        views = [shelf.seen for shelf in self.shelves]
        for route in self.routes:
            route.aim(self.shelves, views)
        if self.size is not None:
            self._resize(self.size, views)

    def _resize(self, size: Size, views: list[View]) -> None:
        """Under the lock: what each shelf may hold; what is borrowed beyond that goes when it comes back."""
        kept = self.routes[:1] if self.writing.need == "prefer-standby" else self.routes  # the other is a last resort
        keep = {shelf for route in kept for shelf in route.keep}
        usable, away = [not view.drained for view in views], [view.away for view in views]
        for shelf, view, capacity in zip(self.shelves, views, size.shares(usable, away), strict=True):
            shelf.capacity = capacity
            shelf.minimum = min(size.minimum, capacity) if shelf in keep else 0
            shelf.short |= view.full and shelf in keep and not shelf.members
            over = len(shelf.members) - len(shelf.idle) - capacity
            for slot in [slot for slot in shelf.members if slot.state is not IDLE][: max(0, over)]:
                slot.expires_at = 0.0

    def _send_home(self) -> None:
        """Under the lock: whoever waits for servers that have all failed for good is told at once."""
        for route in self.routes:
            if route.line and (reason := self._hopeless(route)):
                while route.line:
                    route.line.popleft().settle(error=reason)

    @staticmethod
    def _hopeless(route: Route) -> BaseException | None:
        """Why no connection will come, if every server that may serve is out of the question."""
        if not route.hope or not all(map(_is_hopeless, route.hope)):
            return None
        reasons = (shelf.hopeless for shelf in route.hope if shelf.hopeless)
        return next(reasons, DBOfflineError("every server that may serve is drained"))

    def has_writer(self) -> bool:
        """Whether somebody is there for this group's writes."""
        return any(shelf.seen.there for shelf in self.writing.shelves)

    # -- handing out --------------------------------------------------------------------------------------------------

    def _lend(self, slot: Slot, owner: Owner, now: float) -> None:
        """Under the lock."""
        slot.owner = owner
        owner.taken = slot
        slot.since = now
        slot.turn += 1

    def _hand_over(self, slot: Slot, now: float) -> bool:
        """Under the lock: make the slot his who waited longest of those that it may serve; false if there is nobody."""
        shelf, first = slot.shelf, None
        for route in self.routes:
            if route.line and shelf in route.shelves and (first is None or route.line[0].since < first.line[0].since):
                first = route
        if first is None:
            return False
        waiter = first.line.popleft()
        slot.rest = IDLE
        self._lend(slot, waiter.owner, now)
        self.wait.note(now - waiter.since)
        self.tally.waits += 1
        waiter.settle(slot)
        return True

    # -- the keeper's side --------------------------------------------------------------------------------------------

    def wants(self, shelf: Shelf) -> bool:
        with self._lock:
            return self._wants(shelf)

    def _wants(self, shelf: Shelf, asked: bool = False) -> bool:
        gated = shelf.hopeless is not None and monotonic() < shelf.hopeless_until
        waiting = sum(len(route.line) for route in self.routes if shelf in route.shelves)
        return not self.closed and not gated and wanted(shelf, waiting + asked)

    def reserve(self, shelf: Shelf, *, asked: bool = False) -> bool:
        """Whether a connection is wanted now; if so it counts as opening until add() or give_up()."""
        with self._lock:
            if wants := self._wants(shelf, asked):
                shelf.opening += 1
                shelf.short = False
            return wants

    def give_up(self, shelf: Shelf, hopeless: BaseException | None = None, until: float = 0.0) -> None:
        """The reserved one could not be opened; if that is beyond hope ``until`` then, whoever waits is told at once."""
        with self._lock:
            shelf.opening -= 1
            shelf.hopeless, shelf.hopeless_until = hopeless, until
            self._send_home()

    def despair(self, shelf: Shelf, hopeless: BaseException | None, until: float) -> None:
        """The server cannot be used at all ``until`` then, as another group has found; None: it may be tried again."""
        with self._lock:
            shelf.hopeless, shelf.hopeless_until = hopeless, until
            self._send_home()

    def add(self, slot: Slot) -> None:
        """The reserved one is open; it may replace one that is past its lifetime."""
        shelf = slot.shelf
        with self._lock:
            shelf.opening -= 1
            shelf.hopeless = None
            shelf.members.append(slot)
            old = outdated(shelf, monotonic())
            shelf.short |= len(old) > 1
            self._withdraw(*old[:1])
        self.restore(slot)
        for each in old[:1]:
            self.discard(each)

    def restore(self, slot: Slot) -> None:
        """A slot that was opened, cleaned, or given back past its lifetime: ready for use, if it is to stay."""
        with self._lock:
            if slot.rest is CLEANING and self._stays(slot, monotonic()):
                self._set_free(slot)
                return
        self.discard(slot)

    def _stays(self, slot: Slot, now: float) -> bool:
        """Under the lock: one that is past its lifetime stays until its replacement is open, where there is room for both."""
        shelf = slot.shelf
        if self.closed or len(shelf.members) > shelf.capacity:
            return False
        if now < slot.expires_at:
            return True
        shelf.short |= not shelf.opening
        return bool(shelf.opening) or len(shelf.members) < shelf.capacity

    def _set_free(self, slot: Slot) -> None:
        """Under the lock: to whoever waited longest, or on its shelf."""
        slot.since = monotonic()
        slot.rest = IDLE
        if not self._hand_over(slot, slot.since):
            slot.shelf.idle.append(slot)

    @staticmethod
    def _withdraw(*slots: Slot) -> list[Slot]:
        """Under the lock: from their owners or their shelves into the hands of the caller."""
        now = monotonic()
        for slot in slots:
            if slot.owner is None:
                slot.shelf.idle.remove(slot)
            else:
                slot.note(now - slot.since)
            slot.rest = CLEANING
            slot.owner = slot.holder = slot.place = None
            slot.since = now
        return list(slots)

    def discard(self, slot: Slot, *, condemn: bool = False) -> None:
        """Strike a slot out of the books and have it closed; a successor is opened if one is wanted.

        ``condemn``: it was found dead, and every elder of it is suspect from now on.
        """
        with self._lock:
            if slot.rest is GONE:
                return
            news = condemn and self._condemn(slot)
            slot.rest = GONE
            slot.owner = None
            slot.shelf.members.remove(slot)
            slot.shelf.past_turns += slot.turn
            slot.shelf.past_reads += slot.reads
            self._send_home()  # with the last one may go what was left of hope
            grow = self._wants(slot.shelf)
        if news:
            self.hooks.condemned(slot.shelf)
        if not slot.shelf.members and len(self.shelves) > 1:
            self.reroute()  # a server that takes no more sessions is of no use without any
        self.hooks.close(slot)
        if grow:
            self.hooks.grow(slot.shelf)

    def broken(self, slot: Slot, owner: Owner, *, condemn: bool = True) -> None:
        """A borrowed connection is dead; ``condemn=False`` where its user closed it, which says nothing of the others."""
        with self._lock:
            if slot.owner is not owner:
                raise PoolError(NOT_BORROWED)
            self._withdraw(slot)
        self.discard(slot, condemn=condemn)

    def purge(self, silent: Slot) -> None:
        """The server is silent: its idle connections of that age go without being asked one by one."""
        shelf = silent.shelf
        with self._lock:
            news = self._condemn(silent)
            leaving = self._withdraw(*(slot for slot in shelf.idle if slot.generation != shelf.generation))
        if news:
            self.hooks.condemned(shelf)
        for slot in leaving:
            self.discard(slot)

    @staticmethod
    def _condemn(slot: Slot) -> bool:
        news = slot.shelf.generation == slot.generation
        slot.shelf.generation += news
        return news

    def suspect(self, shelf: Shelf) -> None:
        """Another group found a connection to the same server dead."""
        with self._lock:
            shelf.generation += 1

    # -- the watch's side ---------------------------------------------------------------------------------------------

    def take_back(self, slot: Slot, turn: int) -> bool:
        """Take a slot from an owner that will not return it; it must be cleaned. False if it has moved on meanwhile."""
        with self._lock:
            if slot.owner is None or slot.turn != turn:
                return False
            self._withdraw(slot)
        self.hooks.clean(slot)
        return True

    def mend(self, shelf: Shelf) -> None:
        """Put back what an exception between two instructions left in no list; under the lock there is no such moment."""
        with self._lock:
            for slot in shelf.members:
                if slot.state is IDLE and slot not in shelf.idle:
                    self._set_free(slot)

    def retire(self, shelf: Shelf, now: float, max_idle: float) -> list[Slot]:
        """Take what is to go off the shelf, for the caller to discard.

        One that is past its lifetime stays until its replacement is open; where there is no room for both it goes first.
        """
        with self._lock:
            leaving = self._withdraw(*superfluous(shelf, now, max_idle))
            if (old := outdated(shelf, now)) and not shelf.opening:
                shelf.short = True
                if len(shelf.members) >= shelf.capacity:
                    leaving += self._withdraw(old[0])
            return leaving

    def outdate(self, slot: Slot) -> bool:
        """Its server has another address now: as if its lifetime were over. False if it was over already."""
        with self._lock:
            now, expires_at = monotonic(), slot.expires_at
            slot.expires_at = min(now, expires_at)
            return now < expires_at

    def members(self, *shelves: Shelf) -> list[Slot]:
        """Those on these shelves, else all."""
        with self._lock:
            return [slot for shelf in shelves or self.shelves for slot in shelf.members]

    @contextmanager
    def frozen(self) -> Iterator[tuple[list[Shelf], list[float], Tally]]:
        """The shelves, since when who waits, and the tally, all of one moment; read under the lock: arithmetic only."""
        with self._lock:
            yield self.shelves, [waiter.since for route in self.routes for waiter in route.line], self.tally

    def waiting(self) -> int:
        return sum(len(route.line) for route in self.routes)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> list[Slot]:
        """No more checkouts; whoever waits is told at once. Returns the idle slots, for the caller to discard."""
        with self._lock:
            self.closed = True
            for shelf in self.shelves:
                for slot in shelf.members:
                    slot.expires_at = 0.0  # whatever is given back from now on is closed
            for route in self.routes:
                while route.line:
                    route.line.popleft().settle(error=PoolClosed())
            return self._withdraw(*(slot for shelf in self.shelves for slot in shelf.idle))

    def after_fork_in_child(self) -> list[Any]:
        """Start anew with empty shelves; returns the resources that belong to the parent. Nobody may use them here."""
        theirs = []
        for shelf in self.shelves:
            for slot in shelf.members:
                slot.rest = GONE
                slot.owner = None
                theirs.append(slot.resource)
            shelf.members, shelf.idle, shelf.opening, shelf.hopeless, shelf.short = [], [], 0, None, False
            shelf.past_turns = shelf.past_reads = 0
        self.wait.restart()
        self._restart()
        return theirs


def _seen_from(shelf: Shelf) -> View:
    """What is known of the server, as it matters to this group."""
    view = shelf.view()
    lagging = view.role == "standby" and lags(view.lag, *shelf.most_lag, already=shelf.seen.lagging)
    there = view.there and (bool(shelf.members) or not view.full)
    return replace(view, there=there, lagging=lagging)


def _is_hopeless(shelf: Shelf) -> bool:
    """Under the lock: nothing will come of this server, and nothing of it is open."""
    if shelf.seen.drained:
        return True
    return not shelf.members and shelf.hopeless is not None and monotonic() < shelf.hopeless_until
