"""The thread that looks after the others: deadlines, the dead, the old."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic

from pgdbpool.driver.guarded import take_back
from pgdbpool.driver.session import Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.keeper import Opener, Stock, drained
from pgdbpool.engine.monitor import Monitor
from pgdbpool.engine.owners import describe, where_now
from pgdbpool.engine.strays import Strays
from pgdbpool.waiting import Slot

__all__ = ["Watch"]

log = logging.getLogger("pgdbpool.watch")

TICK = 0.2  # how late a deadline may be noticed
PATIENCE = 3.0  # three probes, one a second
_CALM = 1.0  # between two looks when nothing is borrowed


class Watch:
    """What is done at every tick. It owns the closing of duplicate sockets, so it never shuts down a stranger's."""

    def __init__(self, stocks: list[Stock]) -> None:
        self.stocks = stocks
        self.openers: list[Opener] = []
        self.monitors: list[Monitor] = []
        self.guests: list[Session] = []  # sessions in no group whose deadline counts too
        self._buried: deque[Session] = deque()
        self._strays = {stock: Strays() for stock in stocks}
        self.ended = False  # set by the thread that closed the pool, when nothing is cut any more

    def tick(self) -> float:
        """One look at everything; returns the seconds until the next."""
        now = monotonic()
        self.let_go()
        busy = sum(self._is_silent(monitor, now) for monitor in self.monitors) > 0  # every one is looked at
        for session in list(self.guests):
            busy = True
            cut_if_late(session, now)
        for stock in self.stocks:
            slots = stock.group.members()
            for slot in slots:
                busy |= self._look(stock, slot, now)
            self._strays[stock].look(stock.group, slots, now)
            stock.group.mend()
            self._retire(stock, now)
        for opener in self.openers:
            if opener.nascent is not None:
                busy = True
                cut_if_late(opener.nascent, now)
            if any(each.group.wants(each.shelf) for each in opener.stocks):
                opener.worker.nudge()
        return TICK if busy else _CALM

    def _is_silent(self, monitor: Monitor, now: float) -> bool:
        """Cut everything at a server that let three probes pass; true while a probe is unanswered."""
        waiting = monitor.unanswered(now)
        if waiting > PATIENCE:
            why = f"the server was silent for {waiting:.1f} s"
            log.warning("%s: %s; its connections are cut", monitor.endpoint.label, why)
            for slot in [each for stock in self.stocks_at(monitor.endpoint) for each in stock.group.members()]:
                slot.resource.shut_down(why)
            monitor.give_up(why)
        return waiting > 0.5

    def stocks_at(self, endpoint: Endpoint) -> list[Stock]:
        return [stock for stock in self.stocks if stock.shelf.source is endpoint]

    def _look(self, stock: Stock, slot: Slot, now: float) -> bool:
        """Look at one connection; true when it is in use."""
        cut_if_late(slot.resource, now)
        turn, owner = slot.turn, slot.owner
        if owner is None:
            return bool(slot.resource.deadline)
        if not owner.alive:
            self._report(slot, "taken back from a thread that ended without giving it back", logging.WARNING)
            self.take_back(stock, slot, turn)
        elif stock.options.hold_warning and now - slot.since > stock.options.hold_warning and slot.warned != turn:
            slot.warned = turn
            self._report(slot, f"held for more than {stock.options.hold_warning:g} s", logging.WARNING)
        return True

    def take_back(self, stock: Stock, slot: Slot, turn: int) -> None:
        take_back(slot.resource.raw)
        stock.group.take_back(slot, turn)

    def _report(self, slot: Slot, what: str, level: int) -> None:
        owner = slot.owner
        taken, now = describe(slot.place), describe(where_now(owner)) if owner else "-"
        log.log(level, "%r %s; borrowed at %s, its thread is now at %s", slot.resource, what, taken, now)

    def _retire(self, stock: Stock, now: float) -> None:
        for slot in stock.group.retire(now, stock.options.max_idle):
            stock.group.discard(slot)

    def bury(self, session: Session) -> None:
        """Close a session; its duplicate socket waits for the next tick, because a tick may be about to shut it down."""
        session.close()
        self._buried.append(session)
        if self.ended:
            self.let_go()

    def let_go(self) -> None:
        """Close the duplicate sockets of what was buried."""
        for session in drained(self._buried):
            session.let_go()

    def after_fork_in_child(self) -> None:
        self.guests.clear()
        self._buried.clear()


def cut_if_late(session: Session, now: float) -> None:
    """Free the thread that waits for an answer longer than its limit."""
    if 0 < session.deadline < now and not session.cut:
        session.shut_down("no answer within its limit")
