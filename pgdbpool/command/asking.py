"""Calls made beside the main thread, which stays free for Ctrl-C: libpq and name resolution do not hear it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class NotYet(Exception):
    """There is no answer yet."""


class Asking(Generic[Answer]):
    """``ask()``, called in a thread of its own: once, or every ``interval`` seconds.

    The thread is left alone at the end of the program, whatever it waits for.
    """

    def __init__(self, ask: Callable[[], Answer], interval: float | None = None) -> None:
        self._ask = ask
        self._interval = interval
        self._came: SimpleQueue[tuple[Answer | None, BaseException | None]] = SimpleQueue()
        threading.Thread(target=self._run, name="pgdbpool-asking", daemon=True).start()

    def next(self, patience: float) -> Answer:
        """The next answer, or what was raised in its place; ``NotYet`` if none comes within ``patience`` seconds."""
        try:
            # Not timeout=0, by which Python 3.10 waits for ever.
            answer, error = self._came.get(patience > 0, patience or None)
        except Empty:
            raise NotYet from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]

    def _run(self) -> None:
        while True:
            due = monotonic() + (self._interval or 0.0)
            try:
                self._came.put((self._ask(), None))
            except BaseException as error:
                self._came.put((None, error))
            if self._interval is None:
                return
            sleep(max(0.0, due - monotonic()))
