"""A background thread that exists while it has work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("pgdbpool.engine")

_AGAIN = 1.0  # seconds after a failure
_LINGER = 10.0  # seconds without work after which the thread ends


class Worker:
    """Runs ``work`` in a thread of its own: at least once after each ``nudge``, and again as long as it asks for it.

    ``work()`` returns the seconds until it wants to run again (0: at once), or None when it has nothing left to do.
    An exception in it is logged, and the work runs again a second later: no failure is for ever.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self._name = name
        self._work = work
        self.after_fork()

    def after_fork(self) -> None:
        """The child of a fork has none of its parent's threads, and must not touch their locks."""
        # Guards _nudged, _running and stopped. Forbidden under it: running the work.
        self._lock = threading.Condition(threading.Lock())
        self._nudged = False
        self._running = False
        self.stopped = False

    def nudge(self) -> bool:
        """See to it that ``work`` runs once more; never blocks for it. False where no thread could be started for it."""
        with self._lock:
            self._nudged = True
            self._lock.notify()
            if self._running or self.stopped:
                return True
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            with self._lock:
                self._running = False
            log.warning("cannot start thread %s: %s", self._name, error)
            return False
        return True

    def stop(self, patience: float = 0.0) -> None:
        """Let the thread end after what it is doing, and wait for that for at most ``patience`` seconds."""
        with self._lock:
            self.stopped = True
            self._lock.notify_all()
            if patience:
                self._lock.wait_for(lambda: not self._running, patience)

    def _run(self) -> None:
        pause: float | None = 0.0
        while self._wait(pause):
            try:
                pause = self._work()
            except BaseException:  # SystemExit in a user's callable must not end what all others rely on
                pause = _AGAIN
                with suppress(Exception):  # nor must a logging handler that raises
                    log.exception("%s failed; it goes on with the next task", self._name)

    def _wait(self, pause: float | None) -> bool:
        """Wait for a nudge or the end of the pause; false when the thread is to end."""
        with self._lock:
            if pause != 0.0:
                self._lock.wait_for(lambda: self._nudged or self.stopped, _LINGER if pause is None else pause)
            goes_on = not self.stopped and (self._nudged or pause is not None)
            self._nudged = False
            if not goes_on:
                self._running = False
                self._lock.notify_all()
            return goes_on
