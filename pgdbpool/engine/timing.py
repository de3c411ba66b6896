"""Durations of one kind: noted without a lock where it matters, counted later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from pgdbpool.waiting import Histogram

_WINDOW, _WINDOWS = 10.0, 6  # seconds; what was measured lately is in so many
_MANY = 1000
_LATELY = _WINDOW * _WINDOWS


class Timed(NamedTuple):
    """What a timing has counted: since the start, and in the last ``over`` seconds."""

    whole: Histogram
    recent: Histogram
    over: float


class Timing:
    """``note(seconds)`` is for the hot path; who reads, and the Watch at each tick, counts what was noted since."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        fresh: list[float] = []
        self.note: Callable[[float], None] = fresh.append
        self._fresh = fresh
        # Guards the histograms. Forbidden under it: I/O, logging, user code, any other lock.
        self._lock = threading.Lock()
        self._whole = Histogram()
        self._began = self._settled_at = monotonic()
        self._windows: deque[tuple[float, Histogram]] = deque(maxlen=_WINDOWS)

    def note_alone(self, seconds: float) -> None:
        """``note`` where no Watch counts meanwhile."""
        self._fresh.append(seconds)
        if len(self._fresh) >= _MANY:
            self.settle(monotonic())

    def settle(self, now: float) -> None:
        """Count what was noted."""
        if not self._fresh:
            self._settled_at = now
            return
        with self._lock:
            self._settle(now)

    def _settle(self, now: float) -> None:
        """Under the lock."""
        since, self._settled_at = self._settled_at, now
        count = len(self._fresh)
        if not count:
            return
        lately = Histogram()
        lately.add(self._fresh[:count])
        del self._fresh[:count]  # what was noted meanwhile stays
        if not self._windows or now >= self._windows[-1][0] + _WINDOW:
            self._windows.append((since, Histogram()))
        self._windows[-1][1].merge(lately)
        self._whole.merge(lately)

    def read(self, now: float) -> Timed:
        """Copies of what was counted."""
        with self._lock:
            self._settle(now)
            windows = [(began, each) for began, each in self._windows if began > now - _LATELY]
            whole, recent = Histogram(), Histogram()
            whole.merge(self._whole)
            for _, each in windows:
                recent.merge(each)
        calm = min(now - self._began, _LATELY - _WINDOW)  # nothing was noted before the first window
        return Timed(whole, recent, max(now - windows[0][0], calm) if windows else 0.0)
