"""A background thread that exists while it has work."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

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
        # Guards all but the work. Forbidden under it: running that, starting a thread (which may let others run first).
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bell: queue.SimpleQueue[None] | None = None
        self._wanting: deque[queue.SimpleQueue[None]] = deque()  # those who wait for the next run
        self._begun = 0.0
        self.stopped = False

    def nudge(self) -> bool:
        """See to it that ``work`` runs once more; never blocks for it. False where no thread could be started for it.

        An exception thrown into the caller (a signal handler's) may strike anywhere here: it leaves no lock taken, as it may
        a Condition's, and a thread that it kept from starting is started by a later nudge.
        """
        with self._lock:
            if self.stopped:
                return True
            if self._thread is not None and (self._thread.is_alive() or monotonic() < self._begun + _AGAIN):
                self._ring()
                return True
            # By its module: gevent may have patched that since the import, with --preload even since the fork.
            bell: queue.SimpleQueue[None] = queue.SimpleQueue()
            self._bell = bell
            self._begun = monotonic()
            thread = self._thread = threading.Thread(target=self._run, args=(bell,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            with self._lock:
                self._thread = None
            log.warning("cannot start thread %s: %s", self._name, error)
            return False
        return True

    def run_once(self, patience: float) -> None:
        """Have ``work`` run once more, and wait for that, for at most ``patience`` seconds."""
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        if self.stopped:
            return
        self._wanting.append(done)
        if self.nudge():
            with suppress(queue.Empty):
                done.get(timeout=patience)

    def stop(self, patience: float = 0.0) -> None:
        """Let the thread end after what it is doing, and wait for that for at most ``patience`` seconds."""
        with self._lock:
            self.stopped, thread = True, self._thread
            if thread is not None:
                self._ring()
        if patience and thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(patience)

    def _ring(self) -> None:
        """Under the lock, where there is a thread."""
        assert self._bell is not None
        self._bell.put(None)

    def _run(self, bell: queue.SimpleQueue[None]) -> None:
        pause: float | None = 0.0
        while self._wait(pause, bell):
            wanting = [self._wanting.popleft() for _ in range(len(self._wanting))]
            try:
                pause = self._work()
            except BaseException:  # SystemExit in a user's callable must not end what all others rely on
                pause = _AGAIN
                with suppress(Exception):  # nor must a logging handler that raises
                    log.exception("%s failed; it goes on with the next task", self._name)
            for done in wanting:
                done.put(None)

    def _wait(self, pause: float | None, bell: queue.SimpleQueue[None]) -> bool:
        """Wait for a nudge or the end of the pause; false when the thread is to end."""
        with suppress(queue.Empty):
            if pause != 0.0:
                bell.get(timeout=_LINGER if pause is None else pause)
                pause = 0.0
        while self._bell is not bell:
            bell.get()  # for ever: a fork copies its parent's greenlets, other than its threads
        with self._lock:  # a nudge from now on finds no thread, or comes before this look
            while not bell.empty():
                bell.get()
                pause = 0.0
            goes_on = not self.stopped and pause is not None
            if not goes_on:
                self._thread = None
            return goes_on
