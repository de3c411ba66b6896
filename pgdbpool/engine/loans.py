"""Which connections ``getconn`` has lent, and under which key."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Slot

__all__ = ["Loan", "Loans"]


class Loan:
    """One connection that ``getconn`` has lent."""

    __slots__ = ("desk", "key", "owner", "raw", "slot", "turn")

    def __init__(self, raw: Any, key: Hashable, desk: Any, slot: Slot, owner: Owner) -> None:
        self.raw = raw
        self.key = key
        self.desk = desk
        self.slot = slot
        self.owner = owner
        self.turn = slot.turn

    def itself(self) -> Loan:
        return self

    def holds(self, slot: Slot) -> bool:
        """A loan ends by ``putconn`` only, or with its thread."""
        return self.slot is slot

    def lasts(self) -> bool:
        """False once it was taken back, or is about to be because its thread has ended."""
        return self.owner.alive and self.slot.owner is self.owner and self.slot.turn == self.turn


class Loans:
    """A pool's open loans."""

    def __init__(self) -> None:
        # Guards the dict, which has each loan by its connection's id. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._loans: dict[int, Loan] = {}

    def of_key(self, key: Hashable) -> Loan | None:
        if key is None:
            return None
        with self._lock:
            return next((loan for loan in self._loans.values() if loan.key == key and loan.lasts()), None)

    def enter(self, loan: Loan) -> None:
        with self._lock:
            self._loans[id(loan.raw)] = loan

    def leave(self, raw: Any, key: Hashable) -> Loan | None:
        """The loan of that connection, struck off; None if there is none, or if it goes by another key."""
        with self._lock:
            loan = self._loans.get(id(raw))
            if loan is None or (key is not None and key != loan.key):
                return None
            return self._loans.pop(id(raw))
