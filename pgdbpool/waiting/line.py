"""One who waits for a connection."""

from __future__ import annotations

import threading
from typing import Any

from pgdbpool.waiting.slots import Slot


class Waiter:
    """A place in the line, settled exactly once: by a slot, or by an error, or by its own withdrawal.

    ``slot``, ``error`` and ``queued`` are guarded by the group's lock; the primitive only wakes the thread. Whoever finds
    the waiter in the line may settle it and must take it out: one that gave up is no longer there, so a slot can never be
    handed to a ghost.
    """

    __slots__ = ("_wake", "error", "owner", "queued", "since", "slot")

    def __init__(self) -> None:
        self._wake = threading.Lock()
        self._wake.acquire()
        self.queued = False

    def begin(self, owner: Any, since: float) -> bool:
        """A new wait. A thread waits for one thing at a time, so it needs but one waiter for all its waits.

        False if an exception struck in the middle of its last wait, and it still stands in the line.
        """
        if self.queued:
            return False
        self._wake.acquire(False)  # the wake-up of a wait that ended otherwise
        self.owner = owner
        self.since = since
        self.slot: Slot | None = None
        self.error: BaseException | None = None
        return True

    def wait(self, timeout: float) -> bool:
        """Block for at most ``timeout`` seconds; true when settled."""
        return self._wake.acquire(True, timeout) if timeout > 0 else self._wake.acquire(False)

    def settle(self, slot: Slot | None = None, error: BaseException | None = None) -> None:
        self.queued = False
        self.slot = slot
        self.error = error
        self._wake.release()
