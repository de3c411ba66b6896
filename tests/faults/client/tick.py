"""Whether anything holds the GIL."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["Tick"]

_EVERY = 0.005
_NOTED = 0.02  # seconds


class Tick:
    """A thread that wakes every 5 ms. ``gaps``: when a wait for its turn began (monotonic), and its seconds.

    What it spent ready to run with no processor free is not counted: that is the machine's doing (proc(5), schedstat).
    """

    def __init__(self) -> None:
        self.gaps: list[tuple[float, float]] = []
        threading.Thread(target=self._run, name="tick", daemon=True).start()

    def _run(self) -> None:
        self._file = self._opened()
        last, starved = time.monotonic(), self._starved()
        while True:
            time.sleep(_EVERY)
            now, so_far = time.monotonic(), self._starved()
            if (gap := now - last - _EVERY - (so_far - starved)) > _NOTED:
                self.gaps.append((last, gap))
            last, starved = now, so_far

    def _starved(self) -> float:
        """Seconds that this thread was ready and did not run, so far."""
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self._file is not None else 0.0

    @staticmethod
    def _opened() -> int | None:
        """Once for all: there may be no descriptor to be had later."""
        try:
            return os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        except OSError:  # macOS
            return None
