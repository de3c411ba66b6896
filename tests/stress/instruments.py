"""What a storm is watched with: who has which connection in his hands, who stands where in the line, and the lock."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import sleep

from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Route, Slot, Waiter


class Broken(AssertionError):
    """An invariant does not hold."""


class Interrupted(BaseException):
    """What a signal handler might raise at any time."""


class Hands:
    """Who uses which connection; each is taken and left by compare-and-set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[int, object] = {}
        self._opened = 0

    def open(self) -> int:
        with self._lock:
            self._opened += 1
            self._users[self._opened] = None
            return self._opened

    def move(self, number: int, before: object, after: object) -> None:
        with self._lock:
            if number not in self._users:
                raise Broken(f"{number} is used after it was closed")
            if self._users[number] is not before:
                raise Broken(f"{number} is in two hands: {self._users[number]} and {after or before}")
            self._users[number] = after

    def inherit(self, number: int, heir: object) -> None:
        """Take what a thread that ended may have left behind."""
        last = self._users.get(number)
        self.move(number, None if not isinstance(last, Owner) or last.alive else last, heir)

    def close(self, number: int, by: object = None) -> None:
        self.move(number, by, None)
        with self._lock:
            del self._users[number]

    def open_ones(self) -> list[int]:
        with self._lock:
            return list(self._users)


class WatchedLock:
    """The group's lock: before it a thread often lets others pass, and whenever it is released all has to be in order."""

    def __init__(self, dice: random.Random, inspect: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._dice = dice
        self._inspect = inspect

    def acquire(self) -> None:
        if self._dice.random() < 0.2:
            sleep(self._dice.random() / 5000)
        self._lock.acquire()

    def release(self) -> None:
        self._inspect()
        self._lock.release()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


class Line(deque[Waiter]):
    """A route's line of waiters that notes, under the group's lock, who joined it where and who left it."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.route = route
        self.order: list[Waiter] = []

    def append(self, waiter: Waiter) -> None:
        super().append(waiter)
        self.order.append(waiter)

    def appendleft(self, waiter: Waiter) -> None:
        super().appendleft(waiter)
        self.order.insert(0, waiter)

    def remove(self, waiter: Waiter) -> None:
        super().remove(waiter)
        self.order.remove(waiter)


class Lines:
    """The lines of all routes: who is served is the first of his own, and waits longer than any other who may have it."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.each = [Line(route) for route in routes]
        for line in self.each:
            line.route.line = line
        self.jumped: list[str] = []

    def settled(self, waiter: Waiter, slot: Slot | None) -> None:
        (his,) = (line for line in self.each if waiter in line.order)
        if slot is not None:
            if his.order[0] is not waiter:
                self.jumped.append(f"the queue was jumped: number {his.order.index(waiter) + 1} was served")
            for line in self.each:
                if line.order and slot.shelf in line.route.shelves and line.order[0].since < waiter.since:
                    self.jumped.append(f"the queue was jumped: one who waits for {line.route.need} waits longer")
        his.order.remove(waiter)


class StormyWaiter(Waiter):
    """A waiter that tells the lines when it is settled, and is now and then interrupted where it has dice."""

    __slots__ = ("_dice", "_lines")

    def __init__(self, lines: Lines, dice: random.Random | None) -> None:
        self._lines = lines
        self._dice = dice
        super().__init__()

    def settle(self, slot: Slot | None = None, error: BaseException | None = None) -> None:
        self._lines.settled(self, slot)
        super().settle(slot, error)

    def wait(self, timeout: float) -> bool:
        if self._dice is not None and timeout > 0 and self._dice.random() < 0.1:
            super().wait(min(timeout, self._dice.random() / 500))
            raise Interrupted
        return super().wait(timeout)
