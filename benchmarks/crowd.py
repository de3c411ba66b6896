"""Threads that repeat a call, and what they reach."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["WINDOW", "Crowd", "Window", "Work", "window"]

_SETTLE, WINDOW = 0.15, 0.75  # seconds: until all threads are under way, and what is counted

Work = Callable[[int], Callable[[], Any]]  # the call that the nth thread repeats


class Window(NamedTuple):
    """What the threads did: queries a second, the slowest thread's count over the fastest's, the longest call in ms."""

    rate: float
    fairness: float
    worst: float


class Crowd:
    """Threads that repeat a call until told to stop."""

    def __init__(self, work: Work, threads: int) -> None:
        self.counts = [0] * threads
        self.worst = [0.0] * threads
        self._work = work
        self._running = True
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._repeat, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _repeat(self, number: int) -> None:
        call, counts, worst, clock = self._work(number), self.counts, self.worst, time.perf_counter
        try:
            while self._running:
                began = clock()
                call()
                if (took := clock() - began) > worst[number]:
                    worst[number] = took
                counts[number] += 1
        except BaseException as error:
            self._failure = error


def window(work: Work, threads: int) -> Window:
    with Crowd(work, threads) as crowd:
        time.sleep(_SETTLE)
        before, began = list(crowd.counts), time.perf_counter()
        crowd.worst[:] = [0.0] * threads
        time.sleep(WINDOW)
        after, seconds = list(crowd.counts), time.perf_counter() - began
        worst = max(crowd.worst)
    done = [late - early for early, late in zip(before, after, strict=True)]
    return Window(sum(done) / seconds, min(done) / max(done), worst * 1000)
