"""Borrowed connections that nobody holds any more.

A handler that was dropped without leaving its block; and what an exception left behind that was thrown between two
instructions. A signal handler that raises (gunicorn's do), or ``PyThreadState_SetAsyncExc``, can strike anywhere: after a slot
was taken and before anyone knows it, or in the middle of giving it back. No ``try`` on the hot path closes every such gap, and
each would cost. So the Watch looks for slots that nobody can be holding.
"""

from __future__ import annotations

import logging

from pgdbpool.driver.guarded import take_back
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import describe, is_at_work
from pgdbpool.waiting import CLEANING, Slot

__all__ = ["Strays"]

log = logging.getLogger("pgdbpool.watch")

_LONGEST_CLEANING = 60.0  # seconds; the cleaner takes 5 at most for each


class Strays:
    """Looks at a group's slots; what is astray at two looks in a row is brought home."""

    def __init__(self) -> None:
        self._seen: dict[Slot, int] = {}

    def look(self, group: Group, slots: list[Slot], now: float) -> None:
        before, self._seen = self._seen, {}
        for slot in slots:
            turn = slot.turn
            if not self._looks_astray(slot, now):
                continue
            if before.get(slot) == turn:
                self._bring_home(group, slot, turn, now)
            else:
                self._seen[slot] = turn

    @staticmethod
    def _looks_astray(slot: Slot, now: float) -> bool:
        owner = slot.owner
        if owner is None:
            return slot.rest is CLEANING and now - slot.since > _LONGEST_CLEANING
        return owner.alive and not _is_held(slot) and not is_at_work(owner)

    @staticmethod
    def _bring_home(group: Group, slot: Slot, turn: int, now: float) -> None:
        if slot.owner is None:
            group.discard(slot)
            return
        place = describe(slot.place)
        take_back(slot.resource.raw)
        if group.take_back(slot, turn):
            log.warning(
                "%r is taken back: what held it was dropped, or struck by an exception; taken at %s", slot, place
            )


def _is_held(slot: Slot) -> bool:
    """Whether a handler, a block or a loan answers for it (a one-shot query has none: its thread is at work)."""
    holder = slot.holder() if slot.holder is not None else None
    return holder is not None and holder.holds(slot)
