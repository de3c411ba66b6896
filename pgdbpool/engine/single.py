"""The engine without threads and locks, for one thread per process: whoever asks does the work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from time import monotonic, sleep

from pgdbpool.config import PoolOptions
from pgdbpool.driver.session import Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.group import Group
from pgdbpool.engine.monitor import connect
from pgdbpool.engine.owners import Owner
from pgdbpool.engine.timing import Timing
from pgdbpool.waiting import Route, Shelf, Slot

_LOOK = 0.1  # seconds between two looks at the servers while a request waits
_GLANCE = 0.01  # seconds, while it waits for a standby's progress


class NoLock(nullcontext[None]):
    """Where there is one thread, nobody needs to be kept out."""

    def acquire(self, blocking: bool = True) -> bool:
        return True

    def release(self) -> None:
        pass


class SingleGroup(Group):
    """A group whose checkout opens what it lacks, in place of waiting for somebody to give one back."""

    make_lock = NoLock
    engine: Single
    _tidied = 0.0

    def release(self, slot: Slot, owner: Owner, soiled: bool = False) -> None:
        super().release(slot, owner, soiled)
        if slot.since > self._tidied + 1:
            self._tidied = slot.since
            self.engine.tidy()

    def _queue(
        self, owner: Owner, since: float, deadline: float, route: Route, *, again: bool = False
    ) -> tuple[Slot, float]:
        self.engine.tidy()
        while True:
            if found := self._take_idle(owner, route):
                self.wait.note(monotonic() - since)
                self.tally.waits += 1
                return found
            if refusal := self._refusal(owner, route):
                self._fail(route, refusal, since)
            patience = deadline - monotonic()
            if any(self.engine.open_wanted(shelf, asked=True, knock=patience > 1.0) for shelf in route.shelves):
                continue
            if patience <= 0:
                self._fail(route, None, since)
            sleep(min(*(shelf.source.delay() or _LOOK for shelf in route.shelves), _LOOK, patience))
            self.engine.look_around(waiting=True)


class Single(Engine):
    """``type: non-threaded``. TCP's own limits are the only ones on a silent server: see ``explain()``."""

    group_class = SingleGroup
    restraint = 10.0  # it is a request that dials

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options)
        for group in self.groups.values():
            assert isinstance(group, SingleGroup)
            group.engine = self
        self.causal.wait = self._wait

    def _wait(self, _: object, left: float) -> bool:
        """A read waits for a standby, and nobody else looks at it."""
        sleep(min(_GLANCE, left))
        self.look_around(waiting=True)
        return True

    def start(self) -> None:
        for stock in self.stocks:
            while self.open_wanted(stock.shelf):
                pass

    def note_of(self, timing: Timing) -> Callable[[float], None]:
        return timing.note_alone

    def serves(self, shelf: Shelf) -> bool:
        """Nobody dials but the next request, which may."""
        return shelf.seen.there or not (shelf.source.drained or shelf.source.delay())

    def open_wanted(self, shelf: Shelf, *, asked: bool = False, knock: bool = False) -> bool:
        """Open a connection, if one is wanted and its server may be dialled now; false if not. ``knock``: see ``dial``."""
        stock = self.stock_of(shelf)
        if not shelf.source.dial(knock=knock):
            return False
        try:
            if not stock.group.reserve(shelf, asked=asked):
                return False
            self.open(stock)
            return True
        finally:
            shelf.source.hang_up()

    def look_around(self, *, waiting: bool = False) -> None:
        """What the monitors do elsewhere: what are the servers? Those that are not there are tried, the others if need be."""
        for endpoint in self.endpoints:
            stocks = self.stocks_at(endpoint)
            idle = [slot.resource for stock in stocks for slot in stock.shelf.idle]
            left_alone = not any(stock.group.wants(stock.shelf) for stock in stocks)
            if idle:
                self._ask(endpoint, idle[-1])
            elif left_alone and (waiting or not endpoint.view().there) and endpoint.dial(knock=False):
                with suppress(Exception):  # the endpoint knows what it was
                    session = connect(endpoint, self.probing_options(), self.restraint)
                    self._ask(endpoint, session)
                    endpoint.reached()
                    session.end()
        self.topology.judge()
        self.reroute()

    def _ask(self, endpoint: Endpoint, session: Session) -> None:
        with suppress(Exception):  # a lost one is found at the next checkout
            self.topology.ask(endpoint, session, _LOOK)
            if endpoint.role == "primary":
                self.catalog.learn(session, _LOOK)

    def tidy(self) -> None:
        """What the Watch does elsewhere: take back what was dropped, let the old go, see who is back."""
        for stock in self.stocks:
            stock.settle(monotonic())
            for slot in stock.group.members(stock.shelf):
                if slot.holder is not None and slot.holder() is None:
                    stock.group.take_back(slot, slot.turn)
            for old in stock.group.retire(stock.shelf, monotonic(), stock.options.max_idle):
                stock.group.discard(old)
            self.open_wanted(stock.shelf)
        if len(self.endpoints) > 1:
            self.look_around()
        if self.reporter is not None:
            self.reporter.tick()
