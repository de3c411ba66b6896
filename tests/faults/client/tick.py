"""Whether anything holds the GIL."""

from __future__ import annotations

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
        last, starved = time.monotonic(), self._starved()
        while True:
            time.sleep(_EVERY)
            now, so_far = time.monotonic(), self._starved()
            if (gap := now - last - _EVERY - (so_far - starved)) > _NOTED:
                self.gaps.append((last, gap))
            last, starved = now, so_far

    @staticmethod
    def _starved() -> float:
        """Seconds that this thread was ready and did not run, so far."""
        try:
            with open(f"/proc/self/task/{threading.get_native_id()}/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except OSError:  # macOS
            return 0.0
