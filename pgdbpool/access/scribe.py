"""What is written over a borrowed connection, for the reads of whoever has it."""

from __future__ import annotations

from pgdbpool.access.desk import Desk, may_write_to
from pgdbpool.engine.owners import Owner
from pgdbpool.text import Verdict
from pgdbpool.waiting import Slot


class Scribe:
    """Takes down the writes of one checkout, where anybody wants to read them elsewhere."""

    __slots__ = ("_desk", "_holders", "_owner", "_renamed", "_slot", "_turn")

    def __init__(self, desk: Desk, owner: Owner, slot: Slot) -> None:
        self._desk = desk
        self._owner = owner
        self._slot, self._turn = slot, slot.turn
        self._holders: list[Owner] = []
        self._renamed: bool | None = False

    @property
    def tells(self) -> bool:
        """Whether the server says how far its WAL is: a standby has written nothing, and some refuse."""
        return self._slot.shelf.source.position is not None and may_write_to(self._slot)

    def note(self, said: str | None = None) -> None:
        """A write is done; ``said``: what the server has answered to ``WRITTEN`` behind it."""
        if may_write_to(self._slot):
            self._desk.causal.wrote(self._owner, self._slot.shelf.source, said)
            self._desk.renamed(self._renamed)
            self._renamed = False

    def hear(self, verdict: Verdict) -> None:
        """This is about to be said; what it renames counts when its write is done."""
        self._renamed = max(self._renamed, verdict.renames, key=(False, None, True).index)

    def hand_out(self, owner: Owner) -> None:
        """From now on that thread has the connection itself, and nobody sees what it does with it."""
        if self._slot.shelf.source.role == "standby":
            return
        self._desk.causal.hold(owner, self)
        self._holders.append(owner)

    def lasts(self) -> bool:
        """Whether that checkout goes on."""
        return self._slot.turn == self._turn and self._slot.owner is not None

    def close(self) -> None:
        """Nobody has it any more."""
        for owner in self._holders:
            self._desk.causal.let_go(owner, self)
        if self._holders:
            self._desk.renamed(None)


def scribe(desk: Desk, owner: Owner, slot: Slot, *, read_only: bool) -> Scribe | None:
    """One for this checkout, if it may write and anybody cares."""
    return Scribe(desk, owner, slot) if desk.causal.wanted and not read_only else None
