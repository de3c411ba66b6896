"""When to open, when to try again, when to let go: pure decisions."""

from __future__ import annotations

import random
from collections.abc import Iterable

from pgdbpool.waiting.slots import Shelf, Slot

__all__ = ["Backoff", "lifetime", "retirable", "wanted"]


def wanted(shelf: Shelf, waiting: int) -> bool:
    """Whether one more connection should be opened: somebody waits whom none on its way will serve, or too few are open."""
    open_or_coming = len(shelf.members) + shelf.opening
    if open_or_coming >= shelf.capacity:
        return False
    return waiting > shelf.opening or open_or_coming < shelf.minimum


def lifetime(limit: float, nth: int, capacity: int) -> float:
    """How long the ``nth`` connection of a shelf may live: up to a fifth less than ``limit``, evenly spread.

    Connections that were opened together must not expire together (a wave of reconnects), hence slots rather than dice:
    k connections end at k different times, ``limit / 5 / capacity`` apart; the dice only keep processes apart.
    """
    step = limit / 5 / capacity
    return limit - step * (nth % capacity) - step * random.random()


def retirable(shelf: Shelf, now: float, max_idle: float) -> Iterable[Slot]:
    """The idle slots to close now: past their lifetime, or idle too long and more than the minimum; oldest first."""
    spare = len(shelf.members) - shelf.minimum
    for slot in list(shelf.idle):
        if now >= slot.expires_at or (spare > 0 and 0 < max_idle <= now - slot.since):
            spare -= 1
            yield slot


class Backoff:
    """The pause between attempts at a server: doubles from ``first`` to ``cap``, each with jitter of its own.

    Jitter only shortens a pause, by up to a fifth: processes drift apart, and the next attempt is never later than
    ``cap``, so a server that is back is found within it.
    """

    __slots__ = ("_cap", "_first", "_pause", "not_before")

    def __init__(self, first: float = 0.1, cap: float = 1.0) -> None:
        self._first = first
        self._cap = cap
        self._pause = first
        self.not_before = 0.0

    def failed(self, now: float, at_least: float = 0.0) -> None:
        """Note a failed attempt; ``at_least`` seconds pass before the next."""
        pause = self._pause * random.uniform(0.8, 1.0)
        self._pause = min(self._pause * 2, self._cap)
        self.not_before = now + max(pause, at_least)

    def succeeded(self) -> None:
        self._pause = self._first
        self.not_before = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        return max(0.0, self.not_before - now)
