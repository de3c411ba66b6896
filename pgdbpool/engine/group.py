"""A group: checkout and release. It knows connections only as opaque resources, in integers when tested."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import NoReturn

from pgdbpool.engine.books import NOT_BORROWED, Books, Hooks
from pgdbpool.engine.owners import Owner
from pgdbpool.errors import NestedCheckout, PoolClosed, PoolError, TooManyRequests
from pgdbpool.waiting import CLEANING, Mark, Need, Route, Shelf, Size, Slot, Waiter

_PING = 1.0  # seconds that a suspect has to answer in


class Group(Books):
    """Connections of one kind to one or several servers, handed to whoever waited longest."""

    def __init__(
        self,
        name: str,
        shelves: list[Shelf],
        hooks: Hooks,
        *,
        ping_after: float,
        max_waiting: int = 0,
        needs: Sequence[Need] = ("any",),
        size: Size | None = None,
    ) -> None:
        self._ping_after = ping_after
        self._max_waiting = max_waiting
        super().__init__(name, shelves, hooks, needs, size)

    # -- the hot path: two straight functions -------------------------------------------------------------------------

    def checkout(self, owner: Owner, timeout: float, route: Route | None = None, mark: Mark | None = None) -> Slot:
        """Take a connection that is alive, or wait for one; at most ``timeout`` seconds in all.

        ``route``: ``writing``, unless it is ``reading``. ``mark``: of a server that shows it, where nobody has to wait; whoever
        waits may get one of another.
        """
        route = route or self.writing
        now = monotonic()
        # `with` and not acquire() and `try`, which is faster: a signal handler that raises between the two would leave
        # the lock taken for ever.
        with self._lock:
            stack = (route.only or route.choose()) if mark is None else route.choose(mark)
            if stack:
                slot = stack.pop()
                idle = now - slot.since
                slot.owner = owner
                owner.taken = slot
                slot.since = now
                slot.turn += 1
            else:
                slot = None
        if slot is None:
            slot, idle = self._queue(owner, now, now + timeout, route)
        while slot.poll(0) or idle > self._ping_after or slot.generation != slot.shelf.generation:
            if self._is_alive(slot, owner, idle, now + timeout):
                break
            slot, idle = self._queue(owner, now, now + timeout, route, again=True)
        return slot

    def release(self, slot: Slot, owner: Owner, soiled: bool = False) -> None:
        """Give a connection back: to whoever waited longest, or to its shelf, or to be cleaned first."""
        now = monotonic()
        with self._lock:
            if slot.owner is not owner:
                raise PoolError(NOT_BORROWED)
            slot.note(now - slot.since)
            slot.since = now
            if soiled or now > slot.expires_at:
                slot.owner = None
                slot.rest = CLEANING
            elif (self.writing.line or self.reading.line) and self._hand_over(slot, now):
                return
            else:
                slot.owner = None
                slot.shelf.idle.append(slot)
                return
        if soiled and not self.closed:
            self.hooks.clean(slot)
        else:
            self.restore(slot)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _queue(
        self, owner: Owner, since: float, deadline: float, route: Route, *, again: bool = False
    ) -> tuple[Slot, float]:
        """Stand in line until served; raises when the wait ends otherwise. ``again``: back to the head, not the tail.

        Returns also for how long the slot was idle.
        """
        waiter = owner.waiter
        if not waiter.begin(owner, since):
            waiter = owner.waiter = Waiter()
            waiter.begin(owner, since)
        with self._lock:
            if found := self._take_idle(owner, route):  # one came back between the two looks
                return found
            refusal = self._refusal(owner, route, again)
            if refusal is None:
                waiter.queued = True
                route.line.appendleft(waiter) if again else route.line.append(waiter)
                growing = [shelf for shelf in route.shelves if self._wants(shelf)]
        if refusal is not None:
            self._fail(route, refusal, since)
        try:
            for shelf in growing:
                self.hooks.grow(shelf)
            settled = waiter.wait(deadline - monotonic())
        except BaseException:  # an exception on its way takes no slot with it
            if (slot := self._leave(waiter, route)) is not None:
                self.release(slot, owner)
            raise
        slot = waiter.slot if settled else self._leave(waiter, route)
        waiter.slot = None
        return slot or self._fail(route, waiter.error, since), 0.0

    def _take_idle(self, owner: Owner, route: Route) -> tuple[Slot, float] | None:
        """Under the lock, where nobody waits who may have it: an idle slot, and for how long it was idle."""
        stack = route.only or route.choose()
        if not stack:
            return None
        slot, now = stack.pop(), monotonic()
        idle = now - slot.since
        self._lend(slot, owner, now)
        return slot, idle

    def _leave(self, waiter: Waiter, route: Route) -> Slot | None:
        """Time ran out, or an exception came: out of the line, unless it was settled in the last moment."""
        with self._lock:
            if waiter.queued:
                waiter.queued = False
                with suppress(ValueError):  # an exception struck whoever was about to serve him
                    route.line.remove(waiter)
            return waiter.slot

    def _refusal(self, owner: Owner, route: Route, again: bool = False) -> BaseException | None:
        """Under the lock, with nothing idle: why this thread must not even join the line, or None."""
        if self.closed:
            return PoolClosed()
        if 0 < self._max_waiting <= self.waiting() and not again:
            return TooManyRequests()
        if _holds_all(owner, route):
            return NestedCheckout()
        return self._hopeless(route)

    def _fail(self, route: Route, reason: BaseException | None, since: float) -> NoReturn:
        """Count the failed wait and raise the error that explains it; ``reason`` is None when time ran out."""
        with self._lock:
            if reason is None:
                self.tally.timeouts += 1
                self.wait.note(monotonic() - since)
            else:
                self.tally.errors += 1
        raise self.hooks.explain(self, route, reason, monotonic() - since)

    # -- alive? -------------------------------------------------------------------------------------------------------

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


def _holds_all(owner: Owner, route: Route) -> bool:
    """Under the lock: no connection will ever come to that owner, because he has them all himself."""
    shelves = [*route.shelves, *(shelf for shelf in route.hope if shelf.seen.unknown)]
    if any(len(shelf.members) < shelf.capacity for shelf in shelves):
        return False
    members = [slot for shelf in shelves for slot in shelf.members]
    return bool(members) and all(slot.owner is owner for slot in members)
