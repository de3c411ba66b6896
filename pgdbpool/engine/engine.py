"""The servers, the groups, and what is done for them in the thread that asks."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Protocol

from pgdbpool.config import GroupOptions, PoolOptions, checked
from pgdbpool.driver.cleaning import clean
from pgdbpool.driver.failures import understand
from pgdbpool.driver.guarded import take_back
from pgdbpool.driver.opening import Unprepared, open_session, statement_limit
from pgdbpool.driver.session import Refused, Session
from pgdbpool.engine import forking
from pgdbpool.engine.books import Hooks
from pgdbpool.engine.catalog import Catalog
from pgdbpool.engine.causal import LONGEST_LIFE, Causal
from pgdbpool.engine.endpoint import HOT, Endpoint
from pgdbpool.engine.events import Events
from pgdbpool.engine.group import Group
from pgdbpool.engine.keeper import Stock
from pgdbpool.engine.loans import Loans
from pgdbpool.engine.monitor import PATIENCE
from pgdbpool.engine.sentences import explained, holders
from pgdbpool.engine.timing import Timing
from pgdbpool.engine.topology import Topology
from pgdbpool.engine.worker import Worker
from pgdbpool.errors import ConfigError
from pgdbpool.waiting import Lag, Shelf, Size, Slot, lifetime, needs

log = logging.getLogger("pgdbpool.engine")

CLOSED = "the pool was closed"
_FOREVER = float("inf")
_LONGEST_CLEANING = 5.0  # seconds
_AT_EXIT = 0.4  # seconds that borrowed connections have at interpreter exit


class Companion(Protocol):
    """What goes with the pool, in a thread of its own or, where there is none, now and then."""

    worker: Worker

    def tick(self) -> float: ...

    def close(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


class Engine:
    """Everything below the public names. ``Single`` does all at once; ``Threaded`` leaves what may take long to threads."""

    group_class: Callable[..., Group] = Group
    reporter: Companion | None = None
    restraint = 0.0  # seconds until a server is dialled again, for each second that the failed attempt took

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        judges = any(group.target != "any" for group in options.groups.values())
        self.events = Events()
        self.topology = Topology(options.endpoints, self.reroute, judges, self.events)
        self.endpoints = self.topology.endpoints
        self.catalog = Catalog()
        self.causal = self._causal()
        self.topology.moved = self.causal.moved
        self.stocks: list[Stock] = []
        self.groups = {name: self._group(each) for name, each in options.groups.items()}
        self.closed = False
        self.guests: set[Session] = set()  # sessions in no group: those that are being opened, and those of `watched`
        self._inherited: set[Session] = set()
        self._start_anew()
        forking.register(self)
        _living.add(self)

    def _causal(self) -> Causal:
        """A mark lasts until all that a standby may lag has passed twice."""
        lags = [group.max_lag or 0.0 for group in self.options.groups.values()]
        reads = any(group.reads_standbys for group in self.options.groups.values())
        return Causal(self.endpoints, max(LONGEST_LIFE, *(2 * lag for lag in lags)), reads and len(self.endpoints) > 1)

    def _start_anew(self) -> None:
        self.loans = Loans()
        # Guards `closed`. Forbidden under it: everything else.
        self._lock = threading.Lock()

    def _group(self, options: GroupOptions) -> Group:
        most = Lag(options.max_lag, options.max_lag_bytes)
        shelves = [Shelf(each, 0, 0, each.view, shows=each.shows, most_lag=most) for each in self.endpoints]
        size = Size(options.connection_count, options.min_connections, self._dealt_from(options))
        hooks = Hooks(self.grow, self.prove, self.clean, self.close_slot, explained, self.condemned)
        ping_after = {"always": -1.0, "never": _FOREVER, "auto": options.ping_after}[options.validate]
        aims, longest = needs(options.target, len(shelves)), options.max_waiting
        group = self.group_class(
            options.name, shelves, hooks, ping_after=ping_after, max_waiting=longest, needs=aims, size=size
        )
        self.stocks += [Stock(group, shelf, options) for shelf in shelves]
        return group

    def _dealt_from(self, options: GroupOptions) -> int | None:
        """1.0 deals the connections of all its groups to the servers in turn, in one go."""
        if not self.options.dealt:
            return None
        names = list(self.options.groups)
        before = [self.options.groups[name] for name in names[: names.index(options.name)]]
        return sum(each.connection_count for each in before) % len(self.endpoints)

    def reroute(self) -> None:
        """What is known of a server has changed."""
        for group in self.groups.values():
            group.reroute()

    def condemned(self, shelf: Shelf) -> None:
        """One group's connection was found dead: those of the others to the same server are suspect too, and what it was."""
        shelf.source.position = None
        for stock in self.stocks_at(shelf.source):
            if stock.shelf is not shelf:
                stock.group.suspect(stock.shelf)

    def stocks_at(self, endpoint: Endpoint) -> list[Stock]:
        return [stock for stock in self.stocks if stock.shelf.source is endpoint]

    def stock_of(self, shelf: Shelf) -> Stock:
        return next(stock for stock in self.stocks if stock.shelf is shelf)

    # -- what the groups ask for ------------------------------------------------------------------------------------

    def grow(self, shelf: Shelf) -> None:
        """Nothing here: the next checkout opens what it lacks."""

    def clean(self, slot: Slot) -> None:
        """Whoever had it can use it no more; it is reset and put back, or closed."""
        take_back(slot.resource.raw)
        self.reset(slot)

    def reset(self, slot: Slot) -> None:
        """Bring it back to its baseline."""
        stock = self.stock_of(slot.shelf)
        limit = statement_limit(slot.shelf.source.options, stock.options) / 1000 or _LONGEST_CLEANING
        cleaned = False
        try:
            cleaned = clean(slot.resource, min(limit, _LONGEST_CLEANING), reset=stock.options.reset != "never")
        finally:
            if cleaned:
                stock.group.restore(slot)
            else:
                stock.group.discard(slot, condemn=slot.resource.lost)

    def close_slot(self, slot: Slot) -> None:
        self.bury(slot.resource)

    def prove(self, slot: Slot, limit: float) -> bool:
        """Whether a connection is alive; by a ping within ``limit`` seconds unless that is 0."""
        session: Session = slot.resource
        if session.lost or (session.poll(0) and session.hung_up()):
            return False
        if not limit or session.answers(limit):
            return True
        if session.cut:  # silent, not hung up: asking its neighbours would cost as much each
            self.stock_of(slot.shelf).group.purge(slot)
        return False

    # -- opening ------------------------------------------------------------------------------------------------------

    def open(self, stock: Stock) -> None:
        """Open the connection that was reserved, and enter into the books what became of it."""
        endpoint: Endpoint = stock.shelf.source
        session, hopeless, for_all, began = None, None, False, monotonic()
        try:
            with forking.connecting():
                session = open_session(endpoint.options, stock.options, endpoint.quirks, self.guests.add, self.bury)
            self._recognise(endpoint, session, stock.options)
        except Unprepared as error:
            hopeless = error.__cause__
            endpoint.connected(monotonic() - began)
            log.warning("group %r: %s", stock.group.name, error)
        except Exception as error:
            if session is not None:
                self.bury(session)
                session = None
            failure = understand(error)
            # A name that is gone with its server says nothing against the others, one of which may be promoted.
            lasts = failure.permanent and (failure.kind != "host name" or len(self.endpoints) == 1)
            hopeless, for_all = (error, failure.kind != "setting") if lasts else (None, False)
            endpoint.refused(error, failure, self.restraint * (monotonic() - began))
        else:
            endpoint.connected(monotonic() - began)
        finally:  # whatever was raised, also by the user's password or logging
            if session is None:
                pause = endpoint.delay() or (HOT if hopeless is not None else 0.0)
                stock.group.give_up(stock.shelf, hopeless, monotonic() + pause)
                for other in self.stocks_at(endpoint) if for_all else ():  # not what this group's own settings caused
                    other.group.despair(other.shelf, hopeless, monotonic() + pause)
            else:
                session.took = self.note_of(stock.statement)
                stock.group.add(self._slot(stock, session))
                self.guests.discard(session)

    def _recognise(self, endpoint: Endpoint, session: Session, options: GroupOptions) -> None:
        """What a server is that was just connected to, before anybody may use it."""
        own = "default_transaction_read_only" in options.settings
        read_only = endpoint.read_only if own else session.read_only
        if len(self.endpoints) > 1 and endpoint.position is None and options.target != "any":
            with suppress(Refused):  # who is a primary no more must be known before
                self.topology.ask(endpoint, session, PATIENCE, read_only)
        endpoint.learn(session.in_recovery, read_only)

    def note_of(self, timing: Timing) -> Callable[[float], None]:
        return timing.note

    def _slot(self, stock: Stock, session: Session) -> Slot:
        now, shelf, limit = monotonic(), stock.shelf, stock.options.max_lifetime
        expires_at = now + lifetime(limit, shelf.source.connects, stock.options.connection_count) if limit else _FOREVER
        poll = session.poll if stock.options.validate != "never" else bool  # bool(0) is false: never looked at
        return Slot(shelf, session, poll, now, expires_at, note=stock.hold.note)

    def bury(self, session: Session) -> None:
        """Close it, wherever it was."""
        self.guests.discard(session)
        session.end()

    @contextmanager
    def watched(self, session: Session) -> Iterator[None]:
        """Keep a session in no group within its deadlines; closes it at the end."""
        self.guests.add(session)
        try:
            yield
        finally:
            self.bury(session)

    def probing_options(self) -> GroupOptions:
        """The first group's options for a connection of the pool's own: nothing of the user's is set on it.

        What a view consists of cannot be asked while somebody changes it: no probe waits for that.
        """
        first = next(iter(self.options.groups.values()))
        name, settings = "pgdbpool:monitor", {"lock_timeout": 100}
        plain = replace(first, application_name=name, settings=settings, query_timeout=0)
        return replace(plain, on_connect=None, sqlprepare=False)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open connections; again in the child of a fork."""
        raise NotImplementedError

    def close(self, timeout: float) -> None:
        """Refuse new work, wait for what is borrowed, shut the rest's sockets and say who held them. Idempotent."""
        if self._refuse():
            self._cut()

    def close_in_background(self, timeout: float) -> None:
        """Refuse new work; what is borrowed is closed when it comes back."""
        if self._refuse() and self.reporter is not None:
            self.reporter.close()

    def _refuse(self) -> bool:
        """No more checkouts, and what is idle is closed; false if that was done already."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
        self.causal.close()
        for group in self.groups.values():
            for slot in group.close():
                group.discard(slot)
        return True

    def _cut(self) -> None:
        """Shut all sockets: whoever has one gives it back, and it is closed then."""
        for name, group in self.groups.items():
            for line in holders(group.members()):
                log.warning("group %r closed while a connection was borrowed %s", name, line)
            for slot in group.members():
                slot.resource.shut_down(CLOSED)
        for session in list(self.guests):
            session.shut_down(CLOSED)
        if self.reporter is not None:
            self.reporter.close()

    def after_fork_in_child(self) -> None:
        self.topology.after_fork_in_child()
        self.causal.after_fork_in_child()
        theirs = {session for group in self.groups.values() for session in group.after_fork_in_child()} | self.guests
        self._inherited |= theirs  # kept: no destructor may run on them
        self.guests.clear()
        for session in theirs:
            take_back(session.raw)
            session.abandon()
        for stock in self.stocks:
            stock.restart()
        self.events.after_fork_in_child()
        if self.reporter is not None:
            self.reporter.after_fork_in_child()
        self._start_anew()

    # -- changes ------------------------------------------------------------------------------------------------------

    def resize(self, group: Group, count: int) -> None:
        assert group.size is not None
        group.reroute(replace(group.size, count=checked("connection_count", count)))
        self.events.tell(log, "size", group.name, f"connection_count is {count} now", logging.INFO)

    def drain(self, label: str) -> None:
        self.endpoint(label).drain()

    def resume(self, label: str) -> None:
        endpoint = self.endpoint(label)
        for stock in self.stocks_at(endpoint):
            stock.group.despair(stock.shelf, None, 0.0)
        endpoint.resume()

    def endpoint(self, label: str) -> Endpoint:
        """Raises ``ConfigError`` for an unknown label."""
        for endpoint in self.endpoints:
            if endpoint.label == label:
                return endpoint
        known = ", ".join(repr(each.label) for each in self.endpoints)
        raise ConfigError(f"label: found {label!r}; allowed: {known}")

    def awake(self) -> None:
        """Somebody asks how it is: begin, where nobody has used it since a fork."""

    def serves(self, shelf: Shelf) -> bool:
        """Whether a request may find its server there: as far as is known, or where nobody has had to try."""
        return shelf.seen.there or (shelf.seen.unknown and not shelf.minimum)

    # -- questions ----------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether every group has its minimum to each server that it prefers, and at least one connection."""
        have_some = all(group.members() for group in self.groups.values())
        return have_some and all(len(each.shelf.members) >= each.shelf.minimum for each in self.stocks)

    def describe(self) -> str:
        return "; ".join(endpoint.describe() for endpoint in self.endpoints)


_living: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At interpreter exit; a frozen server must not hold it up."""
    deadline = monotonic() + _AT_EXIT
    for engine in list(_living):
        engine.close(max(0.0, deadline - monotonic()))
