"""What changes about the servers of a storm while it lasts: health, roles, weights, drained ones, and the group's size."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pgdbpool.engine.group import Group
from pgdbpool.waiting import Need, Shelf, Size, View

CAPACITY = 3


class Weather:
    """The views of one or three servers, and a shelf for each; it changes in one thread."""

    def __init__(self, servers: int) -> None:
        self.needs: tuple[Need, ...] = ("primary", "prefer-standby") if servers > 1 else ("any",)
        self.size = Size(CAPACITY, 1)
        self._fair = [View(role="standby" if at else "primary", there=True) for at in range(servers)]
        self._views = list(self._fair)
        self.shelves = [Shelf(f"server {at}", 0, 0, self._view(at)) for at in range(servers)]
        self.cleared = True

    def _view(self, at: int) -> Callable[[], View]:
        return lambda: self._views[at]

    def _see(self, at: int, **news: Any) -> None:
        self._views[at] = replace(self._views[at], **news)

    def change(self, dice: random.Random, group: Group) -> str:
        """Let something happen to one of the servers, or to the group, and tell it; returns what."""
        self.cleared = False
        at, size = dice.randrange(len(self._views)), None
        what = dice.choices(("health", "promoted", "role", "drained", "weight", "resized"), (4, 2, 1, 2, 1, 2))[0]
        if what == "health":
            there = dice.random() < 0.6
            self._see(at, there=there, away=not there and dice.random() < 0.7, full=there and dice.random() < 0.2)
        elif what == "promoted":
            for each in range(len(self._views)):
                self._see(each, role="primary" if each == at else "standby")
        elif what == "role":
            self._see(at, role=dice.choice(("unknown", "primary", "standby")))
        elif what == "drained":
            self._see(at, drained=not self._views[at].drained and dice.random() < 0.4)
        elif what == "weight":
            self._see(at, weight=dice.choice((0.0, 0.1, 1.0, 3.0)))
        else:
            size = Size(dice.randint(1, CAPACITY + 1), 1)
        group.reroute(size)
        return what

    def clear(self, group: Group) -> None:
        """As it was at first."""
        self._views = list(self._fair)
        group.reroute(self.size)
        self.cleared = True
