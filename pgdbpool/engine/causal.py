"""Read your own writes: what each thread has written, and which standby shows it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from pgdbpool.driver.position import Position, written
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.keeper import drained
from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Mark

log = logging.getLogger("pgdbpool.causal")

LONGEST_LIFE = 300.0  # seconds that a mark lasts, at least
_GAP = 0.03  # seconds that a read waits for a standby that is about to show what it must see
_DISCOURAGED = 1.0  # seconds in which nobody waits again where that was in vain, unless a standby has got there


class Hold(Protocol):
    """A connection in somebody's hands."""

    def lasts(self) -> bool: ...


class Wanting:
    """What one thread's reads must show: its ``mark``, and whatever may be written over the connections that it ``holds``.

    ``writes`` grows when it has written, or may have. Another thread may let go of a connection that was handed over to
    it: whole things are exchanged, so the two need no lock.
    """

    __slots__ = ("holds", "mark", "writes")

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.holds: set[Hold] = set()
        self.writes = 0


class Causal:
    """The marks of one pool, which are on the ``Owner`` of each thread.

    ``life``: after so many seconds a standby that may serve at all shows a write anyway. ``wanted``: there are standbys to
    read from, or somebody carries marks elsewhere. ``carried``: somebody carries them from one request to the next.
    ``told``: that nobody does is said already.
    """

    def __init__(self, endpoints: Sequence[Endpoint], life: float, wanted: bool) -> None:
        self._endpoints: Sequence[Endpoint] = endpoints
        self.life = life
        self.wanted = wanted
        self.carried = False
        # Have the standbys looked at until that time; and first the primary, if the mark is not known. None: nobody does so
        # beside the requests.
        self.look: Callable[[float, bool], None] | None = None
        # Until a server tells where it is, or so many seconds are over; false then.
        self.wait: Callable[[threading.Lock, float], bool] = lambda wake, left: wake.acquire(timeout=left)
        self.told = self.closed = False
        self._in_vain: Mark | None = None
        self._in_vain_until = 0.0
        self.after_fork_in_child()

    def close(self) -> None:
        """Threads that have written here keep nothing of the pool."""
        self.closed, self._endpoints, self.look = True, (), None

    def after_fork_in_child(self) -> None:
        # A lock for each who waits, which is released once: no exception thrown into a thread can leave one taken that
        # anybody else needs.
        self._to_wake: deque[threading.Lock] = deque()
        self._waiting: set[object] = set()

    # -- writing ------------------------------------------------------------------------------------------------------

    def wrote(self, owner: Owner, endpoint: Endpoint | None = None, said: str | None = None) -> None:
        """This thread's write is done; ``said``: what that server answered to ``WRITTEN`` behind it."""
        now = monotonic()
        known = endpoint.cluster if endpoint is not None else None
        place = (known, *written(said)) if said and known else ()
        wanting = self.wanting(owner)
        wanting.mark = Mark(now, now + self.life, *place)
        wanting.writes += 1

    def place(self, owner: Owner, position: Position) -> Mark:
        """The primary was there after this thread's last write."""
        now = monotonic()
        mark = self.wanting(owner).mark = Mark(now, now + self.life, position.cluster, position.timeline, position.lsn)
        return mark

    def hold(self, owner: Owner, by: Hold) -> None:
        """From now on this thread may write at any time, over what ``by`` stands for."""
        wanting = self.wanting(owner)
        wanting.holds.add(by)
        wanting.writes += 1

    def let_go(self, owner: Owner, by: Hold) -> None:
        """It may not any more, and perhaps it did."""
        if (wanting := owner.marks.get(self)) is not None and by in wanting.holds:
            wanting.holds.discard(by)
            self.wrote(owner)

    def mark_of(self, owner: Owner, *, anew: bool = False) -> Mark | None:
        """What this thread's reads must show, as exactly as it is known now.

        ``anew``: at the beginning of a read; what was written until now over a connection that it holds counts from then on.
        """
        wanting = owner.marks.get(self)
        if wanting is None:
            return None
        if anew and wanting.holds:
            self._look_at_holds(wanting)
        mark: Mark | None = wanting.mark
        if mark is None or mark.known:
            return mark if mark is None or monotonic() < mark.expires else None
        for endpoint in self._endpoints:
            place = endpoint.position
            used = not (endpoint.fenced or endpoint.foreign)
            if used and place is not None and not place.standby and place.asked > mark.at:
                mark = wanting.mark = Mark(mark.at, mark.expires, place.cluster, place.timeline, place.lsn)
                break
        return mark

    def _look_at_holds(self, wanting: Wanting) -> None:
        now = monotonic()
        wanting.mark = Mark(now, now + self.life)
        for by in list(wanting.holds):
            if not by.lasts():  # dropped, and taken back by the Watch
                wanting.holds.discard(by)

    def wanting(self, owner: Owner) -> Wanting:
        found: Wanting | None = owner.marks.get(self)
        if found is None:
            for closed in [each for each in owner.marks if each.closed]:
                owner.marks.pop(closed, None)
            found = owner.marks[self] = Wanting()
        return found

    # -- reading ------------------------------------------------------------------------------------------------------

    def shown(self, owner: Owner, endpoints: Sequence[Endpoint], patience: float | None = None) -> Mark | None:
        """What this thread's reads must show, if one of the servers shows it: now, or after a look at them, or in a moment.

        Most are answered by comparing two numbers. ``patience``: how long to wait, in place of a moment.
        """
        mark, now = self.mark_of(owner), monotonic()
        if mark is None or any(endpoint.shows(mark) for endpoint in endpoints):
            return mark
        look = self.look
        worth_it = look is not None and mark.known and self._is_worth_it(now, endpoints)
        if self.closed or (patience is None and not worth_it):
            return None
        deadline = now + (_GAP if patience is None else patience)
        if look is not None:
            look(deadline, mark.known)
        found = self._shown_by(deadline, owner, endpoints)
        if found is None and mark.known and look is not None:
            self._in_vain, self._in_vain_until = mark, monotonic() + _DISCOURAGED
            look(self._in_vain_until, True)
        return found

    def _is_worth_it(self, now: float, endpoints: Sequence[Endpoint]) -> bool:
        """Whether a server has shown meanwhile what somebody has waited for in vain."""
        vain = self._in_vain
        return vain is None or now > self._in_vain_until or any(endpoint.shows(vain) for endpoint in endpoints)

    def _shown_by(self, deadline: float, owner: Owner, endpoints: Sequence[Endpoint]) -> Mark | None:
        me = object()
        self._waiting.add(me)
        try:
            while True:
                wake = threading.Lock()
                wake.acquire()
                self._to_wake.append(wake)
                mark = self.mark_of(owner)
                if mark is None or any(endpoint.shows(mark) for endpoint in endpoints):
                    return mark
                left = deadline - monotonic()
                if left <= 0 or not self.wait(wake, left):
                    return None
        finally:
            self._waiting.discard(me)

    def is_waited_for(self) -> bool:
        """Whether any read waits for a standby now."""
        return bool(self._waiting)

    def moved(self) -> None:
        """A server has told where it is."""
        for wake in drained(self._to_wake):
            wake.release()

    def tell(self, group: str) -> None:
        """The first read is about to go to a standby."""
        self.told = True
        if not self.carried:
            log.info(
                "group %r reads from standbys: a client's next request may not see what its last one wrote; "
                "pgdbpool.wsgi.Middleware or causal_token() carry that over",
                group,
            )
