"""The thread that looks after the others: deadlines, the dead, the old."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic

from pgdbpool.driver.session import Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.events import Events, Kind
from pgdbpool.engine.keeper import Keeper, Stock, drained
from pgdbpool.engine.monitor import PATIENCE, Monitor
from pgdbpool.engine.owners import Owner, Place, describe, stack_now
from pgdbpool.engine.strays import is_astray
from pgdbpool.engine.worker import Worker
from pgdbpool.waiting import Shelf, Slot

log = logging.getLogger("pgdbpool.watch")

TICK = 0.2  # how late a deadline may be noticed
_STALL = 1.0  # seconds by which a tick is late when the process itself stood still
_CALM = 1.0  # between two looks at a single server when nothing is borrowed
_OVERDUE = 0.25  # seconds after which a probe's answer is missed, and requests go elsewhere if they can
_LONG = 0.2  # seconds in which an answer is usually there: after that the server is asked out of turn
_FORGOTTEN = 60.0  # seconds
_FENCED = "its server is a primary on a timeline that has ended"
_SILENT = f"the server was silent for {PATIENCE:g} s"


class Watch:
    """What is done at every tick. It owns the closing of duplicate sockets, so it never shuts down a stranger's.

    ``guests`` are sessions in no group whose deadline counts too.
    """

    def __init__(
        self,
        stocks: list[Stock],
        guests: set[Session],
        events: Events,
        grow: Callable[[Shelf], None],
        conclude: Callable[[], None],
    ) -> None:
        self._stocks = stocks
        self._guests = guests
        self._events = events
        self._grow = grow
        self._conclude = conclude
        self.monitors: dict[Endpoint, Monitor] = {}
        self.keepers: dict[Endpoint, Keeper] = {}
        self._buried: deque[Session] = deque()
        self._due = float("inf")
        self.ended = False  # set by the thread that closed the pool, when nothing is cut any more
        self.worker = Worker("pgdbpool-watch", self._tick)

    def _tick(self) -> float:
        """One look at everything; returns the seconds until the next."""
        now = monotonic()
        stalled, self._due = now > self._due + _STALL, now + TICK
        if stalled:  # this process stood still: the answers may be here, and nobody had a chance to read them
            return TICK
        self.let_go()
        guests = list(self._guests)
        busy = bool(guests or self._buried)
        for session in guests:
            _cut_if_late(session, now)
        for monitor in self.monitors.values():
            busy |= self._probes(monitor, now)
        if len(self.monitors) > 1:
            self._conclude()
        for stock in self._stocks:
            stock.settle(now)
            for slot in stock.group.members(stock.shelf):
                busy |= self._look(stock, slot, now)
            stock.group.mend(stock.shelf)
            for slot in stock.group.retire(stock.shelf, now, stock.options.max_idle):
                stock.group.discard(slot)
            if stock.group.wants(stock.shelf):
                self._grow(stock.shelf)
        pause = TICK if busy or len(self.monitors) > 1 else _CALM
        self._due = now + pause
        return pause

    def _probes(self, monitor: Monitor, now: float) -> bool:
        """Cut everything at a server that let three probes pass; true while a probe is unanswered."""
        session = monitor.session
        deadline = session.deadline if session is not None else 0.0
        if session is None or not deadline:
            return False
        if deadline - PATIENCE + _OVERDUE < now and not session.takes_time:
            monitor.endpoint.overdue()
        if _cut_if_late(session, now, _SILENT):
            for stock in self._stocks:
                if stock.shelf.source is monitor.endpoint:
                    for slot in stock.group.members(stock.shelf):
                        slot.resource.shut_down(_SILENT)
            self._events.tell(log, "silent", monitor.endpoint.label, f"{_SILENT}; its connections are cut")
        return True

    def _look(self, stock: Stock, slot: Slot, now: float) -> bool:
        """Look at one connection; true when it is in use."""
        _cut_if_late(slot.resource, now)
        if slot.shelf.source.fenced and stock.options.target != "any" and not slot.resource.cut:
            slot.resource.shut_down(_FENCED)
        turn, owner = slot.turn, slot.owner
        astray = is_astray(slot, turn, self.keepers[slot.shelf.source].has)
        if owner is None:
            if astray:
                stock.group.discard(slot)
            return bool(slot.resource.deadline)
        if slot.resource.deadline and now - slot.since > _LONG and len(self.monitors) > 1:
            self.monitors[slot.shelf.source].hurry(now)
        place, limit = slot.place, stock.options.hold_warning
        if not owner.alive or astray:
            if stock.group.take_back(slot, turn):
                why = "what held it was dropped or interrupted" if owner.alive else "its thread ended"
                self._report("taken back", slot, stock, f"taken back: {why}", place, owner)
        elif limit and now - slot.since > limit and slot.warned != turn:
            slot.warned = turn
            self._report("hold", slot, stock, f"held for more than {limit:g} s", place, owner)
        return True

    def _report(self, kind: Kind, slot: Slot, stock: Stock, what: str, place: Place | None, owner: Owner) -> None:
        """Who took it, and where that thread stands now: in one line, and its stack for the log."""
        stack = stack_now(owner)
        stands = describe(stack[0] if stack else None)
        text = (
            f"backend {slot.resource.backend_pid} {what}; borrowed at {describe(place)}, its thread is now at {stands}"
        )
        called = "".join(f"\n    called at {describe(each)}" for each in stack[1:])
        self._events.tell(log, kind, stock.group.name, text, more=called)

    def bury(self, session: Session) -> None:
        """Close a session; its duplicate socket waits for the next tick, because a tick may be about to shut it down."""
        session.close()
        self._guests.discard(session)
        self._buried.append(session)
        if self.ended:
            self.let_go()

    def let_go(self) -> None:
        """Close the duplicate sockets of what was buried; of what was cut, when its server can hear of it."""
        for session in list(drained(self._buried)):
            at_it = (each for each in self.monitors if each.label == session.label)
            hears = bool(session.cut) and any(each.seen_at > session.cut_at for each in at_it)
            if self.ended or hears or not session.cut or monotonic() > session.cut_at + _FORGOTTEN:
                session.let_go(reset=hears)
            else:
                self._buried.append(session)

    def after_fork_in_child(self) -> None:
        self._buried.clear()
        self._due = float("inf")
        self.ended = False
        self.worker.after_fork()


def _cut_if_late(session: Session, now: float, why: str = "no answer within its limit") -> bool:
    """Free the thread that waits for an answer longer than its limit."""
    if late := 0 < session.deadline < now and not session.cut:
        session.shut_down(why)
    return late
