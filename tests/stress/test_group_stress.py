"""A group under a storm of random actions, and the proof that the storm finds what it is there to find.

``PGDBPOOL_SEED`` repeats the dice of a run; the order in which the threads run is the machine's.
"""

from __future__ import annotations

import os
import random
from collections import deque
from time import monotonic

import pytest

from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Route, Shelf, Size, Slot, Waiter
from tests.stress.instruments import Broken
from tests.stress.storm import Storm

SECONDS = 3.0
EVENTS = {*"clean soiled twice break die retired health promoted role drained weight resized".split(), "taken back"}
EVENTS |= {"PoolTimeout", "NestedCheckout", "TooManyRequests", "DBOfflineError", "Interrupted"}


def storm(kind: type[Group], servers: int) -> Storm:
    seed = int(os.environ.get("PGDBPOOL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"PGDBPOOL_SEED={seed}")  # noqa: T201 (pytest shows it where the test fails)
    return Storm(kind, seed, servers)


@pytest.mark.contract("4.p1.1", "4.waiting.1", "4.protected.2", "2.call.resize.1", "5.failover.1")
@pytest.mark.parametrize("servers", [1, 3])
def test_no_storm_breaks_a_group(servers: int) -> None:
    """Whatever threads and servers do at once, no connection is in two hands, lost, or with whom its server must not serve.

    Who waits is served in order, as soon as anything is there that may serve him.
    """
    missing = set(EVENTS)
    for _ in range(4):  # what is rare happens in one of them
        real = storm(Group, servers)
        real.run(SECONDS)
        missing -= set(+real.events)
        assert min(real.group.wait.read(0.0).whole.count, real.group.tally.timeouts, real.group.tally.errors) > 0
        if not missing:
            break
    assert missing == set()


class HandsOverTwice(Group):
    """A connection that is given back goes to two who wait."""

    def _hand_over(self, slot: Slot, now: float) -> bool:
        handed = super()._hand_over(slot, now)
        if handed and self.waiting():
            super()._hand_over(slot, now)
        return handed


class ServesGhosts(Group):
    """Who is served in the moment when its time runs out goes away without the connection."""

    def _leave(self, waiter: Waiter, route: Route) -> Slot | None:
        super()._leave(waiter, route)
        return None


class JumpsTheQueue(Group):
    """Sometimes the last in the line is served first."""

    def _hand_over(self, slot: Slot, now: float) -> bool:
        if slot.turn % 10 == 9:
            for route in self.routes:
                route.line.rotate(1)
        return super()._hand_over(slot, now)


class LooksOnce(Group):
    """Who joins the line does not look again whether something came back meanwhile."""

    def _take_idle(self, owner: Owner, route: Route) -> None:
        return None


class ForgetsWhatItOpens(Group):
    """An attempt that failed still counts as on its way."""

    def give_up(self, shelf: Shelf, hopeless: BaseException | None = None, until: float = 0.0) -> None:
        shelf.opening += 1
        super().give_up(shelf, hopeless, until)


class ServesEveryNeed(Group):
    """A connection goes to whoever waited longest, whether or not its server may serve him."""

    def _hand_over(self, slot: Slot, now: float) -> bool:
        routes = [(route, route.shelves) for route in self.routes]
        for route, _ in routes:
            route.shelves = tuple(self.shelves)
        handed = super()._hand_over(slot, now)
        for route, shelves in routes:
            route.shelves = shelves
        return handed


class ServesWritersFirst(Group):
    """Who waits to write is served before who waits to read, though for less long."""

    def _hand_over(self, slot: Slot, now: float) -> bool:
        readers = self.reading.line
        if self.writing.line and slot.shelf in self.writing.shelves:
            self.reading.line = deque()
        handed = super()._hand_over(slot, now)
        self.reading.line = readers
        return handed


class KeepsWhatIsIdle(Group):
    """When the routes change, who waits goes on waiting though something is idle that may serve him now."""

    def reroute(self, size: Size | None = None) -> None:
        with self._lock:
            self.size = size or self.size
            self._aim()


class StaysOnItsWay(Group):
    """What is idle is taken where the routes led at first, whatever is known of the servers by now."""

    def _aim(self) -> None:
        before = [(route.only, route._lanes) for route in self.routes]
        super()._aim()
        for route, (only, lanes) in zip(self.routes, before, strict=True):
            if lanes:
                route.only, route._lanes = only, lanes


@pytest.mark.parametrize(
    ("kind", "servers", "found"),
    [
        (HandsOverTwice, 1, "in two hands|lost|not borrowed"),
        (ServesGhosts, 1, "lost"),
        (JumpsTheQueue, 1, "queue was jumped: number"),
        (LooksOnce, 1, "wait while"),
        (ForgetsWhatItOpens, 1, "lost|more than"),
        (HandsOverTwice, 3, "in two hands|lost|not borrowed"),
        (ServesEveryNeed, 3, "outside the route"),
        (StaysOnItsWay, 3, "outside the route|wait while|not where it should be"),
        (ServesWritersFirst, 3, "queue was jumped: one who waits for prefer-standby"),
        (KeepsWhatIsIdle, 3, "wait while"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:1],
)
def test_the_storm_finds_planted_bugs(kind: type[Group], servers: int, found: str) -> None:
    """A group with a bug of the kinds that the storm is there for does not come through it."""
    broken, begun = storm(kind, servers), monotonic()
    with pytest.raises(Broken, match=found):
        broken.run(SECONDS)
    print(f"{kind.__name__} found after {monotonic() - begun:.2f} s")  # noqa: T201
