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


class Loans:
    """A pool's open loans."""

    def __init__(self) -> None:
        # Guards both dicts. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._by_raw: dict[int, Loan] = {}
        self._by_key: dict[Hashable, Loan] = {}

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._by_raw, self._by_key = {}, {}

    def of_key(self, key: Hashable) -> Loan | None:
        if key is None:
            return None
        with self._lock:
            return self._by_key.get(key)

    def enter(self, loan: Loan) -> None:
        with self._lock:
            self._by_raw[id(loan.raw)] = loan
            if loan.key is not None:
                self._by_key[loan.key] = loan

    def leave(self, raw: Any, key: Hashable) -> Loan | None:
        """The loan of that connection, struck off; None if there is none, or if it goes by another key."""
        with self._lock:
            loan = self._by_raw.get(id(raw))
            if loan is None or loan.raw is not raw or (key is not None and key != loan.key):
                return None
            del self._by_raw[id(raw)]
            if loan.key is not None:
                del self._by_key[loan.key]
            return loan
