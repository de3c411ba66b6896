"""What both kinds of engine have in common: the servers, the groups, and the questions about them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from pgdbpool.config import GroupOptions, PoolOptions
from pgdbpool.driver.session import Session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.group import Group, Hooks
from pgdbpool.engine.keeper import Stock
from pgdbpool.engine.loans import Loans
from pgdbpool.engine.sentences import explained
from pgdbpool.waiting import Shelf, Slot

__all__ = ["Engine"]


class Engine:
    """Everything below the public names. ``Threaded`` and ``Single`` say who opens, cleans and closes."""

    group_class: Callable[..., Group] = Group

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self.endpoints = [Endpoint(each) for each in options.endpoints]
        self.stocks: list[Stock] = []
        self.groups = {name: self._group(each) for name, each in options.groups.items()}
        self.loans = Loans()
        forking.register(self)

    def _group(self, options: GroupOptions) -> Group:
        shelves = [Shelf(endpoint, options.connection_count, options.min_connections) for endpoint in self.endpoints]
        hooks = Hooks(grow=self.grow, prove=self.prove, clean=self.clean, close=self.close_slot, explain=explained)
        ping_after = {"always": -1.0, "never": float("inf"), "auto": options.ping_after}[options.validate]
        group = self.group_class(options.name, shelves, hooks, ping_after=ping_after, max_waiting=options.max_waiting)
        self.stocks += [Stock(group, shelf, options) for shelf in shelves]
        return group

    # -- what the groups ask for ------------------------------------------------------------------------------------

    def grow(self, shelf: Shelf) -> None:
        raise NotImplementedError

    def clean(self, slot: Slot) -> None:
        raise NotImplementedError

    def close_slot(self, slot: Slot) -> None:
        raise NotImplementedError

    def prove(self, slot: Slot, limit: float) -> bool:
        """Whether a connection is alive; by a ping within ``limit`` seconds unless that is 0."""
        session: Session = slot.resource
        if session.lost or (session.poll(0) and session.hung_up()):
            return False
        if not limit or session.answers(limit):
            return True
        if session.cut:  # silent, not hung up: asking its neighbours would cost as much each
            group = self.stock_of(slot).group
            group.condemn(slot.shelf, slot.generation)
            group.purge(slot.shelf)
        return False

    def stock_of(self, slot: Slot) -> Stock:
        return next(stock for stock in self.stocks if stock.shelf is slot.shelf)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open connections; again in the child of a fork."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        raise NotImplementedError

    def close(self, timeout: float) -> None:
        """Refuse new work, wait for what is borrowed, shut the rest's sockets and say who held them. Idempotent."""
        raise NotImplementedError

    def close_in_background(self, timeout: float) -> None:
        raise NotImplementedError

    def after_fork_in_child(self) -> None:
        raise NotImplementedError

    def watched(self, session: Session) -> AbstractContextManager[None]:
        """Keep a session in no group within its deadlines; closes it at the end."""
        raise NotImplementedError

    # -- questions ----------------------------------------------------------------------------------------------------

    def probing_options(self) -> GroupOptions:
        """The first group's options for a connection of the pool's own: nothing of the user's is set on it."""
        first = next(iter(self.options.groups.values()))
        return replace(first, application_name="pgdbpool:monitor", settings={}, on_connect=None, query_timeout=0)

    def ready(self) -> bool:
        """Whether every group has its minimum to each server, and at least one connection."""
        for group in self.groups.values():
            with group.frozen() as (shelves, _waiting, _tally):
                counts = [(len(shelf.members), shelf.minimum) for shelf in shelves]
            if not any(have for have, _ in counts) or any(have < minimum for have, minimum in counts):
                return False
        return True

    def describe(self) -> str:
        return "; ".join(endpoint.describe() for endpoint in self.endpoints)

    def last_error(self) -> BaseException | None:
        return next((each.last_error for each in self.endpoints if each.last_error is not None), None)
