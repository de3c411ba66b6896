"""Which connections ``getconn`` has lent, and under which key."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any


class Loans:
    """A pool's open loans, each with its connection as ``raw``, its ``key``, and ``lasts()``.

    What is in here is kept alive: it ends by ``putconn`` only, or with its thread.
    """

    def __init__(self) -> None:
        # Guards the dict, which has each loan by the id of its connection, which it keeps. Forbidden under it: everything else.
        self._lock = threading.Lock()
        self._loans: dict[int, Any] = {}

    def of_key(self, key: Hashable) -> Any:
        if key is None:
            return None
        with self._lock:
            return self._find(key)

    def _find(self, key: Hashable) -> Any:
        return next((loan for loan in self._loans.values() if loan.key == key and loan.lasts()), None)

    def enter(self, loan: Any) -> Any:
        """The loan, or the one that its key has got meanwhile."""
        with self._lock:
            if loan.key is not None and (first := self._find(loan.key)) is not None:
                return first
            self._loans[id(loan.raw)] = loan
            return loan

    def has(self, raw: Any) -> bool:
        with self._lock:
            return id(raw) in self._loans

    def leave(self, raw: Any, key: Hashable) -> Any:
        """The loan of that connection, struck off; None if it goes by another key, or is another thread's and none is said."""
        with self._lock:
            loan = self._loans.get(id(raw))
            if loan is None or (key != loan.key if key is not None else not loan.is_mine):
                return None
            return self._loans.pop(id(raw))
