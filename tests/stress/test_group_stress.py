"""A group under a storm of random actions, and the proof that the storm finds what it is there to find.

``PGDBPOOL_SEED`` repeats the dice of a run; the order in which the threads run is the machine's.
"""

from __future__ import annotations

import os
import random
from time import monotonic

import pytest

from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Route, Shelf, Slot, Waiter
from tests.stress.instruments import Broken
from tests.stress.storm import Storm

SECONDS = 3.0
EVENTS = "clean soiled twice break die retired PoolTimeout NestedCheckout TooManyRequests DBOfflineError Interrupted"


def storm(kind: type[Group]) -> Storm:
    seed = int(os.environ.get("PGDBPOOL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"PGDBPOOL_SEED={seed}")  # noqa: T201 (pytest shows it where the test fails)
    return Storm(kind, seed)


@pytest.mark.contract("4.p1.1", "4.waiting.1", "4.protected.2")
def test_no_storm_breaks_a_group() -> None:
    """Whatever threads do at once, no connection is in two hands or lost, and who waits is served in order."""
    real = storm(Group)
    real.run(SECONDS)
    assert {event for event in [*EVENTS.split(), "taken back"] if not real.events[event]} == set()
    assert min(real.group.tally.waits, real.group.tally.timeouts, real.group.tally.errors) > 0


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
            self.writing.line.rotate(1)
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


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (HandsOverTwice, "in two hands|lost|not borrowed"),
        (ServesGhosts, "lost"),
        (JumpsTheQueue, "queue was jumped"),
        (LooksOnce, "wait while"),
        (ForgetsWhatItOpens, "lost|more than"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_storm_finds_planted_bugs(kind: type[Group], found: str) -> None:
    """A group with a bug of the kinds that the storm is there for does not come through it."""
    broken, begun = storm(kind), monotonic()
    with pytest.raises(Broken, match=found):
        broken.run(SECONDS)
    print(f"{kind.__name__} found after {monotonic() - begun:.2f} s")  # noqa: T201
