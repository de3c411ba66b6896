"""A group of integers: what opens, proves, cleans and closes them is a list of what was asked, and obeys the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from pgdbpool.engine.books import Hooks
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner
from pgdbpool.errors import DBOfflineError, PoolError, PoolTimeout
from pgdbpool.waiting import Need, Route, Shelf, Size, Slot, View, Waiter
from tests.servers import eventually

LONG = 30.0  # a wait that the test ends by something else than time


class Numbers:
    """A group whose connections are 1, 2, 3, …; ``suspicious`` ones have something to read, ``dead`` ones fail a proof.

    It has as many servers as there are ``views`` of them; ``shelf`` is the first one's.
    """

    def __init__(
        self,
        capacity: int = 2,
        minimum: int = 0,
        *,
        views: Sequence[View] = (View(),),
        needs: Sequence[Need] = ("any",),
        size: Size | None = None,
        ping_after: float = 30.0,
        max_waiting: int = 0,
    ) -> None:
        self.views = list(views)
        self.shelves = [self._shelf(at, capacity, minimum) for at in range(len(views))]
        self.shelf = self.shelves[0]
        self.asked_to_grow: list[Shelf] = []
        self.proven: list[tuple[int, float]] = []
        self.soiled: list[Slot] = []
        self.closed: list[int] = []
        self.suspicious: set[int] = set()
        self.dead: set[int] = set()
        self.proof: Callable[[Slot], bool] = lambda slot: slot.resource not in self.dead
        hooks = Hooks(
            grow=self.asked_to_grow.append,
            prove=self._prove,
            clean=self.soiled.append,
            close=lambda slot: self.closed.append(slot.resource),
            explain=explained,
        )
        self.group = Group(
            "numbers", self.shelves, hooks, ping_after=ping_after, max_waiting=max_waiting, needs=needs, size=size
        )

    def _shelf(self, at: int, capacity: int, minimum: int) -> Shelf:
        return Shelf(f"server {at}", capacity, minimum, lambda: self.views[at])

    def see(self, at: int, **news: Any) -> None:
        """Something new is known of a server, and the group is told."""
        self.views[at] = replace(self.views[at], **news)
        self.group.reroute()

    def _prove(self, slot: Slot, limit: float) -> bool:
        self.proven.append((slot.resource, limit))
        return self.proof(slot)

    def stock(self, *numbers: int, at: int = 0, lives: float = 1000.0) -> list[Slot]:
        """Put open, idle connections on a shelf, as the keeper does."""
        return [self.put(number, lives, at=at) for number in numbers]

    def put(self, number: int, lives: float = 1000.0, *, at: int = 0) -> Slot:
        self.shelves[at].opening += 1
        return self.arrive(number, lives, at=at)

    def arrive(self, number: int, lives: float = 1000.0, *, at: int = 0) -> Slot:
        """The one that was reserved is open."""
        now = monotonic()
        slot = Slot(self.shelves[at], number, lambda _: number in self.suspicious, now, now + lives)
        self.group.add(slot)
        return slot

    def take(self, timeout: float = 0.0, owner: Owner | None = None, *, route: Route | None = None) -> Slot:
        return self.group.checkout(owner or Owner(), timeout, route)

    def idle(self) -> list[int]:
        return [slot.resource for shelf in self.shelves for slot in shelf.idle]

    def members(self) -> list[int]:
        return [slot.resource for slot in self.group.members()]

    def intact(self) -> bool:
        """Nothing is lost: nobody waits, nothing is on its way, and every connection is free."""
        on_their_way = sum(shelf.opening for shelf in self.shelves)
        return not self.group.waiting() and not on_their_way and sorted(self.idle()) == sorted(self.members())


def explained(group: Group, route: Route, reason: BaseException | None, waited: float) -> PoolError:
    """The reason itself where it is the pool's, else what the sentences would say."""
    if isinstance(reason, PoolError):
        return reason
    return PoolTimeout(f"{waited:.2f}") if reason is None else DBOfflineError(str(reason))


class Client:
    """A thread that checks out once; ``got`` is the slot, ``error`` what it raised instead."""

    def __init__(
        self, numbers: Numbers, timeout: float = LONG, *, owner: Owner | None = None, route: Route | None = None
    ) -> None:
        self.owner = owner or Owner()
        self.got: Any = None
        self.error: BaseException | None = None
        self._numbers = numbers
        self._timeout = timeout
        self._route = route
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.got = self._numbers.take(self._timeout, self.owner, route=self._route)
        except BaseException as error:
            self.error = error

    @classmethod
    def in_line(
        cls, numbers: Numbers, timeout: float = LONG, *, owner: Owner | None = None, route: Route | None = None
    ) -> Client:
        """One that waits by the time this returns, behind all who waited before."""
        before = numbers.group.waiting()
        client = cls(numbers, timeout, owner=owner, route=route)
        assert eventually(lambda: numbers.group.waiting() == before + 1)
        return client

    def done(self) -> Client:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()


def full(capacity: int = 1, **options: Any) -> tuple[Numbers, list[Any]]:
    """A group whose connections are all borrowed, each by another owner, and the slots."""
    numbers = Numbers(capacity, **options)
    numbers.stock(*range(1, capacity + 1))
    return numbers, [numbers.take() for _ in range(capacity)]


class FakeWait(Waiter):
    """A waiter whose first wait is what the test says; the later ones are real."""

    def __init__(self, first: Callable[[], bool]) -> None:
        super().__init__()
        self._first: Callable[[], bool] | None = first

    def wait(self, timeout: float) -> bool:
        first, self._first = self._first, None
        return super().wait(timeout) if first is None else first()


def waiting_owner(first: Callable[[], bool]) -> Owner:
    owner = Owner()
    owner.waiter = FakeWait(first)
    return owner


def age(numbers: Numbers, seconds: float) -> None:
    """Let all that is idle be so for longer."""
    for shelf in numbers.shelves:
        for slot in shelf.idle:
            slot.since -= seconds
