"""The engine with threads: opening, cleaning, watching and probing happen beside the requests."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic, sleep

from pgdbpool.config import PoolOptions
from pgdbpool.driver.capacity import capacity
from pgdbpool.driver.session import Refused, Session
from pgdbpool.engine.activity import LONG
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.keeper import Keeper, Stock
from pgdbpool.engine.monitor import PATIENCE, PERIOD, Hooks, Monitor
from pgdbpool.engine.names import Names
from pgdbpool.engine.watch import Watch
from pgdbpool.waiting import NO_LAG, Shelf, Slot

_LINGER = 0.5  # seconds in which a thread that had found the pool before comes to use it
_MOMENT = 0.1  # seconds that closing waits for a thread to end
_HUNTING = 0.1  # seconds between two probes while there is no primary, or of a standby that may soon be of use again
_HUNT = 10.0  # seconds


class Threaded(Engine):
    """``type: threaded``."""

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options)
        self._watch = Watch(self.stocks, self.guests, self.events, self.grow, self._conclude)
        self._keepers = self._watch.keepers = {endpoint: self._keeper(endpoint) for endpoint in self.endpoints}
        self._watch.monitors = {each: self._monitor(each) for each in self.endpoints}
        self._names = Names(self.stocks, self._watch.monitors)
        self._started = False
        self._period = min([PERIOD, *(max(_HUNTING, lag / 3) for lag in self._limits())])
        self._hunts_until = 0.0
        self.causal.look = self._look
        self.catalog.wished = self._learn

    def _limits(self) -> list[float]:
        """The lags that groups look at."""
        groups = self.options.groups.values() if len(self.endpoints) > 1 else ()
        return [each.max_lag for each in groups if each.max_lag and each.reads_standbys]

    def _keeper(self, endpoint: Endpoint) -> Keeper:
        return Keeper(endpoint, self.stocks_at(endpoint), self.open, super().reset, self.bury)

    def _monitor(self, endpoint: Endpoint) -> Monitor:
        stocks, alone, topology = self.stocks_at(endpoint), len(self.endpoints) == 1, self.topology

        def left_to_groups() -> bool:
            nobody_asked = alone and endpoint.health == "unknown"
            return nobody_asked or any(stock.group.wants(stock.shelf) for stock in stocks)

        def in_the_way() -> bool:
            return any(stock.group.wants(stock.shelf) and not stock.shelf.members for stock in stocks)

        def ask(session: Session) -> None:
            topology.ask(endpoint, session, PATIENCE)
            ours = not (endpoint.fenced or endpoint.foreign)
            if ours and (endpoint.role == "primary" or self._hunts_until):  # a standby knows all names as well
                self.catalog.learn(session, PATIENCE)

            if endpoint.options.pooler is None:  # whose sessions are not what the server counts
                with suppress(Refused):
                    endpoint.capacity = endpoint.capacity or capacity(session, PATIENCE)
                if monotonic() < endpoint.activity.wanted_until:
                    endpoint.activity.ask(session, _held_for_long(stocks), PATIENCE)

        def look(session: Session) -> None:
            topology.look(endpoint, session, PATIENCE)

        def period() -> float:
            return _HUNTING if self.hunts() or self._is_behind(endpoint) else self._period

        hooks = Hooks(left_to_groups, in_the_way, ask, look, self.causal.is_waited_for, period, self.bury)
        return Monitor(endpoint, self.probing_options(), hooks)

    # -- the servers --------------------------------------------------------------------------------------------------

    def reroute(self) -> None:
        """What is known of a server has changed; where that leaves no primary, all servers are asked at once, and often."""
        super().reroute()
        if len(self.endpoints) == 1 or all(group.has_writer() for group in self.groups.values()):
            self._hunts_until = 0.0
        elif not self._hunts_until:
            self._hunts_until = monotonic() + _HUNT
            for monitor in self._watch.monitors.values():
                monitor.worker.nudge()

    def hunts(self) -> bool:
        """Whether a primary is searched for: for some seconds, and then as long as anybody waits for it."""
        if not self._hunts_until:
            return False
        return monotonic() < self._hunts_until or any(group.writing.line for group in self.groups.values())

    def _is_behind(self, endpoint: Endpoint) -> bool:
        """Whether it is a standby that is not in use for its lag, or about to be: it shall be back soon."""
        lag = endpoint.lag() if endpoint.position is not None and endpoint.role == "standby" else NO_LAG
        return lag.seconds is None or lag.seconds > self._period

    def _conclude(self) -> None:
        """At every tick: time alone may change what is concluded, and an interrupted change is made good."""
        self.topology.judge()
        self.reroute()

    def _learn(self) -> None:
        """Names in texts are not known yet, or how far the WAL is behind a write."""
        for endpoint, monitor in self._watch.monitors.items():
            if endpoint.role == "primary" or self._hunts_until:
                monitor.worker.nudge()

    def _look(self, until: float, known: bool) -> None:
        if not known:
            self._learn()
        for endpoint, monitor in self._watch.monitors.items():
            if endpoint.role == "standby":
                monitor.chase(until)

    # -- what the groups ask for ------------------------------------------------------------------------------------

    def grow(self, shelf: Shelf) -> None:
        self.start()
        self._keepers[shelf.source].opener.nudge()

    def reset(self, slot: Slot) -> None:
        self._keepers[slot.shelf.source].clean(slot)

    def close_slot(self, slot: Slot) -> None:
        if self.closed:  # no thread will do it
            self.bury(slot.resource)
        else:
            self._keepers[slot.shelf.source].close(slot.resource)

    def bury(self, session: Session) -> None:
        self._watch.bury(session)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what runs in the background, once per process; a fork's child starts its own at its first checkout."""
        if not self._started:
            workers = [self._watch.worker, *(keeper.opener for keeper in self._keepers.values())]
            workers += [self._names.worker] if self._names else []
            workers += [self.reporter.worker] if self.reporter is not None else []
            workers += [monitor.worker for monitor in self._watch.monitors.values()]
            self._started = all(worker.nudge() for worker in workers)

    def awake(self) -> None:
        if not self.closed:
            self.start()

    def close(self, timeout: float) -> None:
        """Refuse new work, wait for what is borrowed, shut the rest's sockets and say who held them. Idempotent."""
        if not self._refuse():
            return
        for keeper in self._keepers.values():
            keeper.opener.stop()
        self._names.worker.stop()
        for monitor in self._watch.monitors.values():
            monitor.stop()
        deadline = monotonic() + timeout
        while any(group.members() for group in self.groups.values()) and monotonic() < deadline:
            sleep(0.005)
        self._watch.worker.stop(_MOMENT)
        self._cut()
        for keeper in self._keepers.values():  # here: at interpreter exit no thread may be left to do it
            for slot in keeper.drain(_MOMENT):
                self.stock_of(slot.shelf).group.discard(slot)
        self._watch.ended = True
        self._watch.let_go()

    def close_in_background(self, timeout: float) -> None:
        threading.Thread(target=self._fade_out, args=(timeout,), name="pgdbpool-close", daemon=True).start()

    def _fade_out(self, timeout: float) -> None:
        """Serve those who wait or are just about to ask, then close; both within ``timeout`` seconds."""
        began = monotonic()
        sleep(min(_LINGER, timeout))
        while any(group.waiting() for group in self.groups.values()) and monotonic() < began + timeout:
            sleep(0.01)
        self.close(max(0.0, began + timeout - monotonic()))

    def after_fork_in_child(self) -> None:
        self._started = False
        self.guests |= {monitor.session for monitor in self._watch.monitors.values() if monitor.session is not None}
        super().after_fork_in_child()
        for keeper in self._keepers.values():
            keeper.after_fork_in_child()
        self._names.worker.after_fork()
        for monitor in self._watch.monitors.values():
            monitor.after_fork_in_child()
        self._watch.after_fork_in_child()


def _held_for_long(stocks: list[Stock]) -> list[int]:
    """The backends of connections that are in use, and not just since a moment."""
    before = monotonic() - LONG
    slots = (slot for stock in stocks for slot in stock.group.members(stock.shelf))
    return [slot.resource.backend_pid for slot in slots if slot.owner is not None and slot.since < before]
