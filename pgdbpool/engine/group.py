"""A group: the lock, checkout and release. It knows connections only as opaque resources, in integers when tested."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn

from pgdbpool.engine.owners import Owner
from pgdbpool.errors import NestedCheckout, PoolClosed, PoolError, TooManyRequests
from pgdbpool.waiting import CLEANING, GONE, IDLE, Shelf, Slot, Waiter, retirable, wanted

__all__ = ["Group", "Hooks", "Tally"]

_PING = 1.0  # seconds that a suspect has to answer in
_NOT_BORROWED = "this connection is not borrowed: it was given back, or taken back from a thread that ended"


@dataclass
class Hooks:
    """What a group asks others to do, always after its lock is released."""

    grow: Callable[[Shelf], None]  # connections may be wanted: have somebody call reserve() and then add()
    prove: Callable[[Slot, float], bool]  # is it alive? by SQL, within so many seconds, in the caller's thread
    clean: Callable[[Slot], None]  # reset it, then call restore() or discard()
    close: Callable[[Slot], None]  # it is out of the books: close it
    # the error for a wait that ended (None: by time)
    explain: Callable[[Group, BaseException | None, float], PoolError]
    condemned: Callable[[Shelf], None] = lambda shelf: None  # one of its connections was found dead


@dataclass
class Tally:
    """Counters of waits since the start, guarded by the group's lock; checkouts and holds are counted in the slots."""

    timeouts: int = 0
    errors: int = 0
    waits: int = 0
    waited: float = 0.0
    longest_wait: float = 0.0


class Group:
    """Connections of one kind, handed to whoever waited longest.

    While somebody waits, no slot is idle: a released one goes straight to the head of the line, so nobody can overtake.
    """

    make_lock: Callable[[], Any] = threading.Lock

    def __init__(
        self, name: str, shelves: list[Shelf], hooks: Hooks, *, ping_after: float, max_waiting: int = 0
    ) -> None:
        self.name = name
        self.hooks = hooks
        self._ping_after = ping_after
        self._max_waiting = max_waiting
        self.shelves = shelves
        self._restart()

    def _restart(self) -> None:
        # Guards the shelves, every slot's state, the line, the tally and `closed`. Held for a few list operations only.
        # Forbidden under it: I/O, logging, user code, hooks, any other lock. Waking a waiter is allowed: it never
        # blocks.
        self._lock = self.make_lock()
        self._idle = self.shelves[0].idle
        self._line: deque[Waiter] = deque()
        self.tally = Tally()
        self.closed = False

    # -- the hot path: two straight functions ---------------------------------------------------------------------

    def checkout(self, owner: Owner, timeout: float) -> Slot:
        """Take a connection that is alive, or wait for one; at most ``timeout`` seconds in all."""
        now = monotonic()
        # `with` and not acquire() and `try`, which is faster: a signal handler that raises between the two would leave
        # the lock taken for ever.
        with self._lock:
            if self._idle:
                slot = self._idle.pop()
                idle = now - slot.since
                slot.owner = owner
                owner.taken = slot
                slot.since = now
                slot.turn += 1
            else:
                slot = None
        if slot is None:
            slot, idle = self._queue(owner, now, now + timeout)
        while slot.poll(0) or idle > self._ping_after or slot.generation != slot.shelf.generation:
            if self._is_alive(slot, owner, idle, now + timeout):
                break
            slot, idle = self._queue(owner, now, now + timeout, again=True)
        return slot

    def release(self, slot: Slot, owner: Owner, soiled: bool = False) -> None:
        """Give a connection back: to whoever waited longest, or to its shelf, or to be cleaned first."""
        now = monotonic()
        with self._lock:
            if slot.owner is not owner:
                raise PoolError(_NOT_BORROWED)
            slot.held += now - slot.since
            slot.since = now
            if soiled or now > slot.expires_at:
                slot.owner = None
                slot.rest = CLEANING
            elif self._line:
                self._hand_over(slot, now)
                return
            else:
                slot.owner = None
                self._idle.append(slot)
                return
        if now > slot.expires_at:
            self.discard(slot)
        else:
            self.hooks.clean(slot)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _hand_over(self, slot: Slot, now: float) -> None:
        """Under the lock, with somebody in the line: make the slot his."""
        waiter = self._line.popleft()
        slot.rest = IDLE
        slot.owner = waiter.owner
        waiter.owner.taken = slot
        slot.since = now
        slot.turn += 1
        tally, waited = self.tally, now - waiter.since
        tally.waits += 1
        tally.waited += waited
        tally.longest_wait = max(tally.longest_wait, waited)
        waiter.settle(slot)

    def _queue(self, owner: Owner, since: float, deadline: float, *, again: bool = False) -> tuple[Slot, float]:
        """Stand in line until served; raises when the wait ends otherwise. ``again``: back to the head, not the tail.

        Returns also for how long the slot was idle.
        """
        waiter = owner.waiter
        if not waiter.begin(owner, since):  # an exception struck in the middle of its last wait
            waiter = owner.waiter = Waiter()
            waiter.begin(owner, since)
        with self._lock:
            refusal = self._refusal(owner, again)
            if refusal is None:
                if found := self._take_idle(owner):  # one came back between the two looks
                    waiter.over = True
                    return found
                self._line.appendleft(waiter) if again else self._line.append(waiter)
                growing = [shelf for shelf in self.shelves if wanted(shelf, len(self._line))]
        if refusal is not None:
            waiter.over = True
            self._fail(refusal, since)
        try:
            for shelf in growing:
                self.hooks.grow(shelf)
            settled = waiter.wait(deadline - monotonic())
        except BaseException:  # an exception on its way takes no slot with it
            slot = self._leave(waiter)
            waiter.over = True
            if slot is not None:
                self.release(slot, owner)
            raise
        slot = waiter.slot if settled else self._leave(waiter)
        waiter.over = True
        return slot or self._fail(waiter.error, since), 0.0

    def _take_idle(self, owner: Owner) -> tuple[Slot, float] | None:
        """Under the lock, with nobody in the line: an idle slot, and for how long it was idle."""
        for shelf in self.shelves:
            if shelf.idle:
                slot, now = shelf.idle.pop(), monotonic()
                idle = now - slot.since
                slot.owner = owner
                owner.taken = slot
                slot.since = now
                slot.turn += 1
                return slot, idle
        return None

    def _leave(self, waiter: Waiter) -> Slot | None:
        """Time ran out, or an exception came: out of the line, unless it was settled in the last moment."""
        with self._lock:
            if waiter.slot is None and waiter.error is None:
                self._line.remove(waiter)
            else:
                waiter.wait(0)  # take the wake-up with it
            return waiter.slot

    def _refusal(self, owner: Owner, again: bool = False) -> BaseException | None:
        """Under the lock: why this thread must not even join the line, or None."""
        if self.closed:
            return PoolClosed()
        if 0 < self._max_waiting <= len(self._line) and not self._idle and not again:
            return TooManyRequests()
        if not all(self._is_hopeless(shelf, owner) for shelf in self.shelves):
            return None
        return NestedCheckout() if any(shelf.members for shelf in self.shelves) else self.shelves[0].hopeless

    @staticmethod
    def _is_hopeless(shelf: Shelf, owner: Owner | None) -> bool:
        """No connection of this shelf will ever come to that owner: he holds them all, or there is none to be had."""
        members = shelf.members
        if not members:
            return shelf.hopeless is not None and monotonic() < shelf.hopeless_until
        return owner is not None and len(members) >= shelf.capacity and all(slot.owner is owner for slot in members)

    def _fail(self, reason: BaseException | None, since: float) -> NoReturn:
        """Count the failed wait and raise the error that explains it; ``reason`` is None when time ran out."""
        with self._lock:
            if reason is None:
                self.tally.timeouts += 1
            else:
                self.tally.errors += 1
        raise self.hooks.explain(self, reason, monotonic() - since)

    # -- alive? ---------------------------------------------------------------------------------------------------

    def _is_alive(self, slot: Slot, owner: Owner, idle: float, deadline: float) -> bool:
        """The checkout's slow side: this one must be looked at; if it is dead, it goes."""
        generation = slot.shelf.generation  # as it is now: who dies during the proof makes this one suspect again
        suspect = idle > self._ping_after or slot.generation != generation
        try:
            alive = self.hooks.prove(slot, min(_PING, max(0.1, deadline - monotonic())) if suspect else 0.0)
        except BaseException:  # an exception on its way takes no slot with it
            self.broken(slot, owner, condemn=False)
            raise
        if alive:
            slot.generation = generation
        else:
            self.broken(slot, owner)
        return alive

    # -- the keeper's side ----------------------------------------------------------------------------------------

    def wants(self, shelf: Shelf) -> bool:
        with self._lock:
            return self._wants(shelf)

    def _wants(self, shelf: Shelf, asked: bool = False) -> bool:
        gated = shelf.hopeless is not None and monotonic() < shelf.hopeless_until
        return not self.closed and not gated and wanted(shelf, len(self._line) + asked)

    def reserve(self, shelf: Shelf, *, asked: bool = False) -> bool:
        """Whether a connection is wanted now; if so it counts as opening until add() or give_up()."""
        with self._lock:
            wants = self._wants(shelf, asked)
            shelf.opening += wants
            return wants

    def give_up(self, shelf: Shelf, hopeless: BaseException | None = None, until: float = 0.0) -> None:
        """The reserved one could not be opened; if that is beyond hope ``until`` then, whoever waits is told at once."""
        with self._lock:
            shelf.opening -= 1
            shelf.hopeless, shelf.hopeless_until = hopeless, until
            if all(self._is_hopeless(each, None) for each in self.shelves):
                while self._line:
                    self._line.popleft().settle(error=hopeless)

    def add(self, slot: Slot) -> None:
        """The reserved one is open."""
        with self._lock:
            slot.shelf.opening -= 1
            slot.shelf.hopeless = None
            slot.shelf.members.append(slot)
        self.restore(slot)

    def restore(self, slot: Slot) -> None:
        """A slot that was opened or cleaned is ready for use."""
        with self._lock:
            if slot.rest is CLEANING and not self.closed and monotonic() < slot.expires_at:
                self._set_free(slot)
                return
        self.discard(slot)

    def _set_free(self, slot: Slot) -> None:
        """Under the lock: to whoever waited longest, or on its shelf."""
        slot.since = monotonic()
        slot.rest = IDLE
        if self._line:
            self._hand_over(slot, slot.since)
        else:
            slot.shelf.idle.append(slot)

    @staticmethod
    def _withdraw(*slots: Slot) -> list[Slot]:
        """Under the lock: from their owners or their shelves into the hands of the caller."""
        now = monotonic()
        for slot in slots:
            if slot.owner is None:
                slot.shelf.idle.remove(slot)
            else:
                slot.held += now - slot.since
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
            slot.shelf.past_held += slot.held
            grow = self._wants(slot.shelf)
        if news:
            self.hooks.condemned(slot.shelf)
        self.hooks.close(slot)
        if grow:
            self.hooks.grow(slot.shelf)

    def broken(self, slot: Slot, owner: Owner, *, condemn: bool = True) -> None:
        """A borrowed connection is dead; ``condemn=False`` where its user closed it, which says nothing of the others."""
        with self._lock:
            if slot.owner is not owner:
                raise PoolError(_NOT_BORROWED)
            self._withdraw(slot)
        self.discard(slot, condemn=condemn)

    def purge(self, silent: Slot) -> None:
        """The server is silent: its idle connections of that age go without being asked one by one."""
        shelf = silent.shelf
        with self._lock:
            self._condemn(silent)
            leaving = self._withdraw(*(slot for slot in shelf.idle if slot.generation != shelf.generation))
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

    # -- the watch's side -----------------------------------------------------------------------------------------

    def take_back(self, slot: Slot, turn: int) -> bool:
        """Take a slot from an owner that will not return it; it must be cleaned. False if it has moved on meanwhile."""
        with self._lock:
            if slot.owner is None or slot.turn != turn:
                return False
            self._withdraw(slot)
        self.hooks.clean(slot)
        return True

    def mend(self) -> None:
        """Put back what an exception between two instructions left in no list; under the lock there is no such moment."""
        with self._lock:
            for slot in self._members():
                if slot.state is IDLE and slot not in slot.shelf.idle:
                    self._set_free(slot)

    def retire(self, now: float, max_idle: float) -> list[Slot]:
        """Take the idle slots that are past their time off the shelves, for the caller to discard."""
        with self._lock:
            return self._withdraw(*(slot for shelf in self.shelves for slot in retirable(shelf, now, max_idle)))

    def members(self) -> list[Slot]:
        with self._lock:
            return self._members()

    def _members(self) -> list[Slot]:
        return [slot for shelf in self.shelves for slot in shelf.members]

    @contextmanager
    def frozen(self) -> Iterator[tuple[list[Shelf], int, Tally]]:
        """The shelves, the number of waiters and the tally of one moment, for reading under the lock: arithmetic only."""
        with self._lock:
            yield self.shelves, len(self._line), self.tally

    def waiting(self) -> int:
        return len(self._line)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> list[Slot]:
        """No more checkouts; whoever waits is told at once. Returns the idle slots, for the caller to discard."""
        with self._lock:
            self.closed = True
            for slot in self._members():
                slot.expires_at = 0.0  # whatever is given back from now on is closed
            while self._line:
                self._line.popleft().settle(error=PoolClosed())
            return self._withdraw(*(slot for shelf in self.shelves for slot in shelf.idle))

    def after_fork_in_child(self) -> list[Any]:
        """Start anew with empty shelves; returns the resources that belong to the parent. Nobody may use them here."""
        theirs = []
        for shelf in self.shelves:
            for slot in shelf.members:
                slot.rest = GONE
                slot.owner = None
                theirs.append(slot.resource)
            shelf.members, shelf.idle, shelf.opening, shelf.hopeless = [], [], 0, None
        self._restart()
        return theirs
