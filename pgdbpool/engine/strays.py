"""Connections that nobody holds any more.

A handler that was dropped without leaving its block; and what an exception left behind that was thrown between two
instructions. A signal handler that raises (gunicorn's do), or ``PyThreadState_SetAsyncExc``, can strike anywhere: after a slot
was taken and before anyone knows it, or in the middle of giving it back. No ``try`` on the hot path closes every such gap, and
each would cost. So the Watch looks for slots that nobody can be holding.
"""

from __future__ import annotations

from collections.abc import Callable

from pgdbpool.engine.owners import is_at_work
from pgdbpool.waiting import CLEANING, Slot


def is_astray(slot: Slot, turn: int, is_in_cleaning: Callable[[Slot], bool]) -> bool:
    """Whether nobody holds it, at this look and at the one before, in the same turn."""
    before, slot.astray = slot.astray, turn if _looks_astray(slot, is_in_cleaning) else -1
    return before == slot.astray == turn


def _looks_astray(slot: Slot, is_in_cleaning: Callable[[Slot], bool]) -> bool:
    owner = slot.owner
    if owner is None:
        return slot.rest is CLEANING and not is_in_cleaning(slot)
    if not owner.alive or _is_held(slot):
        return False
    return slot.holder is not None or owner.taken is not slot or not is_at_work(owner)


def _is_held(slot: Slot) -> bool:
    """Whether a handler, a block or a loan answers for it (a one-shot query has none: its thread is at work)."""
    holder = slot.holder() if slot.holder is not None else None
    return holder is not None and holder.holds(slot)
