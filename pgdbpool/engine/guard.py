"""One borrowed connection against two threads."""

from __future__ import annotations

from typing import Any

from pgdbpool.errors import PoolError


class Grip:
    """``with grip:`` around every use.

    The lock is only ever tried, never waited for: whoever finds it taken gets the error,
    and his statement never reaches the server. Guards nothing but the order of uses; user code and I/O run under it.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise PoolError(
                "two threads use one borrowed connection at once: each needs its own, or has to wait for the other"
            )

    def __exit__(self, *error: object) -> None:
        self._lock.release()
