"""One light probe per server and second, on a connection of its own: is it there, and what is its role?"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

from pgdbpool.config import GroupOptions
from pgdbpool.driver.opening import open_session
from pgdbpool.driver.session import Session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.worker import Worker

__all__ = ["PATIENCE", "Monitor"]

PERIOD = 1.0
PATIENCE = 3.0  # seconds without an answer, three probes' time, after which a server counts as silent


class Monitor:
    """Probes one server by blocking calls, which the Watch cuts when the patience is over.

    It dials only a server that the Keeper has reached: a server that is away is dialled by one of them, not by both.
    """

    def __init__(self, endpoint: Endpoint, options: GroupOptions, bury: Callable[[Session], None]) -> None:
        self.endpoint = endpoint
        self._options = options
        self._bury = bury
        self.session: Session | None = None
        self.worker = Worker(f"pgdbpool-monitor-{endpoint.label}", self._round)

    def stop(self) -> None:
        """No more probes; the one under way is cut."""
        self.worker.stop()
        if (session := self.session) is not None:
            session.shut_down("the pool was closed")
        self._close()

    def after_fork_in_child(self) -> None:
        self.session = None
        self.worker.after_fork()

    def _round(self) -> float:
        try:
            if self.session is None and self.endpoint.health == "up":
                with forking.connecting():
                    self.session = open_session(self.endpoint.options, self._options, self.endpoint.quirks)
            if (session := self.session) is not None and not self.worker.stopped:
                (standby,) = session.execute("SELECT pg_catalog.pg_is_in_recovery()", None, PATIENCE).fetchone()
                self.endpoint.role = "standby" if standby else "primary"
                self.endpoint.answered_at = monotonic()
        except Exception:  # the Keeper learns what is wrong, and says so
            self.endpoint.answered_at = 0.0
            self._close()
        if self.worker.stopped:
            self._close()
        return PERIOD * random.uniform(0.9, 1.0) if self.session is not None else PERIOD / 10

    def _close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self._bury(session)
