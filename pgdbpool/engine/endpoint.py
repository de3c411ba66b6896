"""What the pool knows of one server: whether it can be reached, since when not, and why not."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Literal

from pgdbpool.config import EndpointOptions
from pgdbpool.driver.failures import ConnectFailure
from pgdbpool.waiting import Backoff

__all__ = ["Endpoint", "Health"]

log = logging.getLogger("pgdbpool.endpoint")

Health = Literal["unknown", "up", "down", "failed"]

_HOT = 1.0  # a permanent error is not tried again sooner, however many ask


class Endpoint:
    """One server's health. ``failed`` is an error that only a change over there can mend (password, database, TLS, …)."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.label = options.label
        self.quirks: set[str] = set()
        self.role = "unknown"
        self.answered_at: float | None = None  # the last probe; written by the Monitor alone
        self.last_error: BaseException | None = None
        self.last_failure: ConnectFailure | None = None
        self.connects = 0
        self._down_since = 0.0
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        # Guards health, the last error, the count and the pause. Forbidden under it: I/O, logging, user code, any other
        # lock.
        self._lock = threading.Lock()
        self._backoff = Backoff()
        self.health: Health = "unknown"

    def delay(self) -> float:
        """Seconds until the next attempt to connect is allowed: one clock for everybody who dials this server."""
        with self._lock:
            return self._backoff.delay(monotonic())

    def connected(self) -> None:
        with self._lock:
            was, since = self.health, self._down_since
            self.health = "up"
            self.connects += 1
            self._backoff.succeeded()
        if was in ("down", "failed"):
            log.warning("%s: back after %.1f s", self.label, monotonic() - since)

    def refused(self, error: BaseException, failure: ConnectFailure) -> None:
        """An attempt to connect failed."""
        now = monotonic()
        with self._lock:
            was = self.health
            self.health = "failed" if failure.permanent else "down"
            news = was != self.health
            if was in ("unknown", "up"):
                self._down_since = now
            self.last_error, self.last_failure = error, failure
            self._backoff.failed(now, _HOT if failure.permanent else 0.0)
        if news:
            log.warning("%s: cannot connect: %s", self.label, failure.text)

    def describe(self) -> str:
        """``label up`` or ``label down for 3.2 s: last connect error``."""
        with self._lock:
            health, failure, since = self.health, self.last_failure, self._down_since
        if health in ("up", "unknown") or failure is None:
            return f"{self.label} {health}"
        return f"{self.label} {health} for {monotonic() - since:.1f} s: {failure.text}"
