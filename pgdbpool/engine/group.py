"""A group: the lock, checkout and release. It knows connections only as opaque resources, in integers when tested."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    explain: Callable[
        [Group, BaseException | None, float], PoolError
    ]  # the error for a wait that ended (None: by time)


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
        self._lock.acquire()  # twice as fast as `with` (measured), and this is the path where it counts
        try:
            if self._idle:
                slot = self._idle.pop()
                idle = now - slot.since
                slot.owner = owner
                slot.since = now
                slot.turn += 1
            else:
                slot = None
        finally:
            self._lock.release()
        if slot is None:
            slot = self._queue(owner, now, now + timeout)
            idle = 0.0
        if slot.poll(0) or idle > self._ping_after or slot.generation != slot.shelf.generation:
            return self._proven(slot, owner, now, now + timeout, idle)
        return slot

    def release(self, slot: Slot, owner: Owner, soiled: bool = False) -> None:
        """Give a connection back: to whoever waited longest, or to its shelf, or to be cleaned first."""
        now = monotonic()
        self._lock.acquire()
        try:
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
        finally:
            self._lock.release()
        self._put_away(slot, now)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _hand_over(self, slot: Slot, now: float) -> None:
        """Under the lock, with somebody in the line: make the slot his."""
        waiter = self._line.popleft()
        slot.rest = IDLE
        slot.owner = waiter.owner
        slot.since = now
        slot.turn += 1
        tally, waited = self.tally, now - waiter.since
        tally.waits += 1
        tally.waited += waited
        if waited > tally.longest_wait:
            tally.longest_wait = waited
        waiter.settle(slot)

    def _queue(self, owner: Owner, since: float, deadline: float, *, again: bool = False) -> Slot:
        """Stand in line until served; raises when the wait ends otherwise. ``again``: back to the head, not the tail."""
        waiter = owner.waiter
        waiter.begin(owner, since)
        with self._lock:
            refusal = self._refusal(owner, again)
            growing = () if refusal is not None else self._join(waiter, again)
        if refusal is not None:
            self._fail(refusal, since)
        try:
            for shelf in growing:
                self.hooks.grow(shelf)
            settled = waiter.wait(deadline - monotonic())
        except BaseException:  # an exception on its way takes no slot with it
            if slot := self._leave(waiter):
                self.release(slot, owner)
            raise
        slot = waiter.slot if settled else self._leave(waiter)
        return slot or self._fail(waiter.error, since)

    def _join(self, waiter: Waiter, again: bool) -> Sequence[Shelf]:
        """Under the lock: into the line; returns the shelves that should grow for it."""
        self._line.appendleft(waiter) if again else self._line.append(waiter)
        if slot := self._pop_idle():  # one came back between the two looks
            self._hand_over(slot, monotonic())
            return ()
        return [shelf for shelf in self.shelves if wanted(shelf, len(self._line))]

    def _leave(self, waiter: Waiter) -> Slot | None:
        """Time ran out, or an exception came: out of the line, unless it was settled in the last moment."""
        with self._lock:
            if waiter.slot is None and waiter.error is None:
                self._line.remove(waiter)
            else:
                waiter.wait(0)  # take the wake-up with it
            return waiter.slot

    def _pop_idle(self) -> Slot | None:
        for shelf in self.shelves:
            if shelf.idle:
                return shelf.idle.pop()
        return None

    def _refusal(self, owner: Owner, again: bool = False) -> BaseException | None:
        """Under the lock: why this thread must not even join the line, or None."""
        if self.closed:
            return PoolClosed()
        if 0 < self._max_waiting <= len(self._line) and not self._idle and not again:
            return TooManyRequests()
        for shelf in self.shelves:
            if not self._is_hopeless(shelf, owner):
                return None
        if any(shelf.members for shelf in self.shelves):
            return NestedCheckout()
        return self.shelves[0].hopeless

    @staticmethod
    def _is_hopeless(shelf: Shelf, owner: Owner | None) -> bool:
        """No connection of this shelf will ever come to that owner: he holds them all, or there is none to be had."""
        members = shelf.members
        if not members:
            return shelf.hopeless is not None and monotonic() < shelf.hopeless_until
        if members[0].owner is not owner or owner is None:  # nearly always, and the rest need not be looked at
            return False
        return len(members) >= shelf.capacity and all(slot.owner is owner for slot in members)

    def _fail(self, reason: BaseException | None, since: float) -> NoReturn:
        """Count the failed wait and raise the error that explains it; ``reason`` is None when time ran out."""
        with self._lock:
            if reason is None:
                self.tally.timeouts += 1
            else:
                self.tally.errors += 1
        raise self.hooks.explain(self, reason, monotonic() - since)

    # -- alive? ---------------------------------------------------------------------------------------------------

    def _proven(self, slot: Slot, owner: Owner, now: float, deadline: float, idle: float) -> Slot:
        """The checkout's slow side: this one must be looked at; if it is dead, go on until one is not."""
        while True:
            suspect = idle > self._ping_after or slot.generation != slot.shelf.generation
            try:
                alive = self.hooks.prove(slot, min(_PING, max(0.1, deadline - monotonic())) if suspect else 0.0)
            except BaseException:  # an exception on its way takes no slot with it
                self.broken(slot, owner, condemn=False)
                raise
            if alive:
                with self._lock:
                    slot.generation = slot.shelf.generation
                return slot
            self.broken(slot, owner)
            slot, idle = self._again(owner, now, deadline)
            if not slot.poll(0) and idle <= self._ping_after and slot.generation == slot.shelf.generation:
                return slot

    def _again(self, owner: Owner, now: float, deadline: float) -> tuple[Slot, float]:
        with self._lock:
            slot = self._pop_idle()
            if slot is not None:
                idle = monotonic() - slot.since
                slot.owner = owner
                slot.since = now
                slot.turn += 1
                return slot, idle
        return self._queue(owner, now, deadline, again=True), 0.0

    # -- the keeper's side ----------------------------------------------------------------------------------------

    def reserve(self, shelf: Shelf, *, asked: bool = False) -> bool:
        """Whether a connection is wanted now; if so it counts as opening until add() or give_up()."""
        with self._lock:
            if self.closed or not wanted(shelf, len(self._line) + asked):
                return False
            shelf.opening += 1
            return True

    def unreserve(self, shelf: Shelf) -> None:
        """The reserved one may not be opened just now."""
        with self._lock:
            shelf.opening -= 1

    def give_up(self, shelf: Shelf, hopeless: BaseException | None = None, until: float = 0.0) -> None:
        """The reserved one could not be opened; if that is beyond hope ``until`` then, whoever waits is told at once."""
        with self._lock:
            shelf.opening -= 1
            shelf.hopeless, shelf.hopeless_until = hopeless, until
            if hopeless is not None and all(self._is_hopeless(each, None) for each in self.shelves):
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
        now = monotonic()
        with self._lock:
            if not self.closed and now < slot.expires_at:
                slot.since = now
                if self._line:
                    self._hand_over(slot, now)
                else:
                    slot.rest = IDLE
                    slot.shelf.idle.append(slot)
                return
        self.discard(slot)

    def discard(self, slot: Slot) -> None:
        """Strike a slot out of the books and have it closed; a successor is opened if one is wanted."""
        with self._lock:
            if slot.rest is GONE:
                return
            slot.rest = GONE
            slot.owner = None
            slot.shelf.members.remove(slot)
            slot.shelf.past_turns += slot.turn
            slot.shelf.past_held += slot.held
            grow = not self.closed and wanted(slot.shelf, len(self._line))
        self.hooks.close(slot)
        if grow:
            self.hooks.grow(slot.shelf)

    def broken(self, slot: Slot, owner: Owner, *, condemn: bool = True) -> None:
        """A borrowed connection is dead: it goes, and every elder of it is suspect from now on.

        ``condemn=False`` where its user closed it, which says nothing of the others.
        """
        with self._lock:
            if slot.owner is not owner:
                raise PoolError(_NOT_BORROWED)
            slot.held += monotonic() - slot.since
            slot.rest = CLEANING
            slot.owner = None
        if condemn:
            self.condemn(slot.shelf, slot.generation)
        self.discard(slot)

    def purge(self, shelf: Shelf) -> None:
        """The server is silent: its idle connections go without being asked one by one."""
        with self._lock:
            leaving = [slot for slot in shelf.idle if slot.generation != shelf.generation]
            for slot in leaving:
                slot.rest = CLEANING
                shelf.idle.remove(slot)
        for slot in leaving:
            self.discard(slot)

    def condemn(self, shelf: Shelf, generation: int) -> None:
        with self._lock:
            if shelf.generation == generation:
                shelf.generation += 1

    def _put_away(self, slot: Slot, now: float) -> None:
        if now > slot.expires_at:
            self.discard(slot)
        else:
            self.hooks.clean(slot)

    # -- the watch's side -----------------------------------------------------------------------------------------

    def take_back(self, slot: Slot, turn: int) -> bool:
        """Take a slot from an owner that will not return it; it must be cleaned. False if it has moved on meanwhile."""
        with self._lock:
            if slot.owner is None or slot.turn != turn:
                return False
            slot.rest = CLEANING
            slot.owner = slot.holder = slot.place = None
        self.hooks.clean(slot)
        return True

    def mend(self) -> None:
        """Put back what an exception between two instructions left in no list; under the lock there is no such moment."""
        with self._lock:
            for slot in self._members():
                if slot.owner is None and slot.rest is IDLE and slot not in slot.shelf.idle:
                    slot.since = monotonic()
                    if self._line:
                        self._hand_over(slot, slot.since)
                    else:
                        slot.shelf.idle.append(slot)

    def retire(self, now: float, max_idle: float) -> Iterable[Slot]:
        """Take the idle slots that are past their time off the shelves, for the caller to discard."""
        with self._lock:
            leaving = [slot for shelf in self.shelves for slot in retirable(shelf, now, max_idle)]
            for slot in leaving:
                slot.rest = CLEANING
                slot.shelf.idle.remove(slot)
        return leaving

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

    def wants(self, shelf: Shelf) -> bool:
        with self._lock:
            return not self.closed and wanted(shelf, len(self._line))

    def waiting(self) -> int:
        return len(self._line)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> list[Slot]:
        """No more checkouts; whoever waits is told at once. Returns the idle slots, for the caller to discard."""
        with self._lock:
            self.closed = True
            idle = [slot for shelf in self.shelves for slot in shelf.idle]
            for shelf in self.shelves:
                shelf.idle.clear()
            for slot in idle:
                slot.rest = CLEANING
            for slot in self._members():
                slot.expires_at = 0.0  # whatever is given back from now on is closed
            while self._line:
                self._line.popleft().settle(error=PoolClosed())
        return idle

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
