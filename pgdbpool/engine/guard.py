"""One borrowed connection against two threads."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pgdbpool.errors import PoolError

T = TypeVar("T")

_TWO_THREADS = "two threads use one borrowed connection at once: each needs its own, or has to wait for the other"


class Grip(Generic[T]):
    """``with grip as what_it_guards:`` around every use.

    The lock is only ever tried, never waited for: whoever finds it taken gets the error,
    and his statement never reaches the server. Guards nothing but the order of uses; user code and I/O run under it.
    """

    __slots__ = ("_guarded", "_lock")

    def __init__(self, lock: Any, guarded: T) -> None:
        self._lock = lock
        self._guarded = guarded

    def __enter__(self) -> T:
        if not self._lock.acquire(blocking=False):
            raise PoolError(_TWO_THREADS)
        return self._guarded

    def __exit__(self, *error: object) -> None:
        self._lock.release()
