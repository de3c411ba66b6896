"""A connection of a group in somebody's hands: taken, answered for, given back."""

from __future__ import annotations

import weakref

from pgdbpool.access.desk import Desk
from pgdbpool.access.statements import seconds
from pgdbpool.engine.owners import place_of_caller, present_owner
from pgdbpool.errors import PoolError
from pgdbpool.waiting import Slot

_NOT_HELD = "this connection was given back, or never taken: it can be used inside its `with` block only"


class Hold:
    """What holds a connection for longer than one statement, one at a time. It can be used again when it has ended."""

    __slots__ = ("__weakref__", "_desk", "_owner", "_read_only", "_reads", "_slot", "_timeout", "turn")

    def __init__(self, desk: Desk, read_only: bool, timeout: float | None) -> None:
        self._slot: Slot | None = None
        self._desk = desk
        self._read_only = read_only
        self._reads = read_only
        self._timeout = seconds(timeout, desk.timeout)

    def _check_out(self) -> Slot:
        if self._slot is not None:
            raise PoolError("this connection is in use already: its block was entered twice")
        self._owner = present_owner()
        slot = self._desk.checkout(self._owner, self._timeout, self._reads)
        self.turn = slot.turn
        self._slot = slot
        slot.place = place_of_caller()
        slot.holder = weakref.ref(self)
        if self._owner.request is not None:
            self._owner.request.took(slot, self._desk, self._owner)
        return slot

    def _held(self) -> Slot:
        slot = self._slot
        if slot is None:
            raise PoolError(_NOT_HELD)
        if slot.owner is not self._owner or slot.turn != self.turn:
            raise PoolError("this connection was taken back: after a fork, or when its thread or its request had ended")
        return slot

    def _release(self, slot: Slot, soiled: bool) -> None:
        slot.place = slot.holder = None
        self._slot = None
        self._desk.give_back(slot, self._owner, soiled)

    @property
    def _is_handed_over(self) -> bool:
        """Whether another thread than the one that took it has it now."""
        return False

    def holds(self, slot: Slot) -> bool:
        """Internal: whether this object answers for that connection."""
        return self._slot is slot

    def lasts(self) -> bool:
        """Internal: false once it was given or taken back, or is about to be because its thread has ended."""
        return self.is_held(self.turn) and self._owner.alive

    def is_held(self, turn: int) -> bool:
        """Internal: whether that turn still goes on."""
        slot = self._slot
        return slot is not None and slot.owner is self._owner and turn == self.turn == slot.turn
