"""When to open, when to try again, when to let go: pure decisions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgdbpool.waiting.slots import Shelf, Slot

_FIRST_PAUSE = 0.1  # seconds


def wanted(shelf: Shelf, waiting: int) -> bool:
    """Whether one more connection should be opened: somebody waits whom none on its way will serve, or too few are open."""
    open_or_coming = len(shelf.members) + shelf.opening
    if open_or_coming >= shelf.capacity:
        return False
    return waiting > shelf.opening or shelf.short or open_or_coming < shelf.minimum


def lifetime(limit: float, nth: int, capacity: int) -> float:
    """How long the ``nth`` connection of a shelf may live: up to a fifth less than ``limit``, evenly spread.

    Connections that were opened together must not expire together (a wave of reconnects), hence slots rather than dice:
    k connections end at k different times, ``limit / 5 / capacity`` apart; the dice only keep processes apart.
    """
    step = limit / 5 / capacity
    return limit - step * (nth % capacity) - step * random.random()


def superfluous(shelf: Shelf, now: float, max_idle: float) -> Iterator[Slot]:
    """The idle slots to close now: more than the capacity, or idle too long and more than the minimum; oldest first."""
    over, spare = len(shelf.members) - shelf.capacity, len(shelf.members) - shelf.minimum
    for nth, slot in enumerate(shelf.idle):
        if nth < over or (nth < spare and 0 < max_idle <= now - slot.since):
            yield slot


def outdated(shelf: Shelf, now: float) -> list[Slot]:
    """The idle slots that are past their lifetime: each goes when its replacement is open, oldest first."""
    return [slot for slot in shelf.idle if now >= slot.expires_at]


@dataclass(frozen=True, slots=True)
class Size:
    """How many connections a group may hold to each server: ``count`` and at least ``minimum``.

    ``dealt_from``: the ``count`` is the group's total (pgdbpool 1.0), dealt to the servers in turn from that one on.
    """

    count: int
    minimum: int
    dealt_from: int | None = None

    def shares(self, usable: Sequence[bool], away: Sequence[bool]) -> list[int]:
        """The capacity of each server; a dealt group has the whole of it at those that can be reached."""
        if self.dealt_from is None:
            return [self.count if each else 0 for each in usable]
        n = len(usable)
        turns = [i for i in (*range(self.dealt_from, n), *range(self.dealt_from)) if usable[i]]
        turns = [i for i in turns if not away[i]] or turns
        dealt = Counter(turns[nth % len(turns)] for nth in range(self.count)) if turns else Counter()
        return [dealt[i] for i in range(n)]


class Backoff:
    """The pause between attempts at a server: doubles from a tenth of a second on, each with jitter of its own.

    Jitter only shortens a pause, by up to a fifth: processes drift apart, and the next attempt is never later than
    the longest pause, so a server that is back is found within it.
    """

    __slots__ = ("_pause", "not_before")

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE
        self.not_before = 0.0

    def failed(self, now: float, longest: float, at_least: float = 0.0) -> None:
        """Note a failed attempt; ``at_least`` seconds pass before the next."""
        pause = min(self._pause, longest)
        self._pause = pause * 2
        self.not_before = now + max(pause * random.uniform(0.8, 1.0), at_least)

    def succeeded(self) -> None:
        self._pause = _FIRST_PAUSE
        self.not_before = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        return max(0.0, self.not_before - now)
