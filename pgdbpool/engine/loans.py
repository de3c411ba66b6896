"""Which connections ``getconn`` has lent, and under which key."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Loan:
    """One connection that ``getconn`` has lent; ``hold`` is what gives it back, and knows whether it lasts."""

    raw: Any
    key: Hashable
    hold: Any


class Loans:
    """A pool's open loans. A loan keeps its hold alive: it ends by ``putconn`` only, or with its thread."""

    def __init__(self) -> None:
        # Guards the dict, which has each loan by its connection's id. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._loans: dict[int, Loan] = {}

    def of_key(self, key: Hashable) -> Loan | None:
        if key is None:
            return None
        with self._lock:
            return self._find(key)

    def _find(self, key: Hashable) -> Loan | None:
        return next((loan for loan in self._loans.values() if loan.key == key and loan.hold.lasts()), None)

    def enter(self, loan: Loan) -> Loan:
        """The loan, or the one that its key has got meanwhile."""
        with self._lock:
            if loan.key is not None and (first := self._find(loan.key)) is not None:
                return first
            self._loans[id(loan.raw)] = loan
            return loan

    def has(self, raw: Any) -> bool:
        with self._lock:
            return id(raw) in self._loans and self._loans[id(raw)].raw is raw

    def leave(self, raw: Any, key: Hashable) -> Loan | None:
        """The loan of that connection, struck off; None if there is none, or if it goes by another key."""
        with self._lock:
            loan = self._loans.get(id(raw))
            if loan is None or loan.raw is not raw or (key is not None and key != loan.key):
                return None
            return self._loans.pop(id(raw))
