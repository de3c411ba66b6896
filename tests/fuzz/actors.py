"""Threads that do one thing after the other, each when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from tests.life import Outcome, outcome

LIMIT = 20.0  # seconds: far beyond what anything here may take


class Actor:
    """One thread; whatever it borrows is its own. ``busy`` from ``begin`` to ``result``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = False
        self._orders: SimpleQueue[Any] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._outcomes.put(outcome(*order))
            del order  # what it held must not live on

    def call(self, work: Callable[..., Any], *args: Any) -> Outcome:
        self.begin(work, *args)
        return self.result()

    def begin(self, work: Callable[..., Any], *args: Any) -> None:
        assert not self.busy
        self.busy = True
        self._orders.put((work, *args))

    def result(self) -> Outcome:
        try:
            found = self._outcomes.get(timeout=LIMIT)
        except Empty:
            raise AssertionError(f"{self.name} still waits after {LIMIT:g} s") from None
        self.busy = False
        return found

    def die(self) -> None:
        """End the thread, whatever it holds."""
        self._orders.put(None)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()

    def __repr__(self) -> str:
        return self.name
