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

__all__ = ["Monitor"]

PERIOD = 1.0


class Monitor:
    """Probes one server by blocking calls, which the Watch cuts when three probes' time has passed without an answer.

    It dials only a server that the Opener has reached: a server that is away is dialled by one of them, not by both.
    """

    def __init__(self, endpoint: Endpoint, options: GroupOptions, bury: Callable[[Session], None]) -> None:
        self.endpoint = endpoint
        self._options = options
        self._bury = bury
        self.session: Session | None = None
        self._asked_at = 0.0
        self._stopped = False
        self.worker = Worker(f"pgdbpool-monitor-{endpoint.label}", self._round)

    def unanswered(self, now: float) -> float:
        """For how many seconds the probe under way has waited for its answer; 0 when none is."""
        asked_at = self._asked_at
        return now - asked_at if asked_at else 0.0

    def give_up(self, why: str) -> None:
        """Called by the Watch: free the probe from a silent server."""
        if self.session is not None:
            self.session.shut_down(why)

    def stop(self) -> None:
        """No more probes; the one under way is cut."""
        self._stopped = True
        self.worker.stop()
        self.give_up("the pool was closed")
        self.close()

    def after_fork_in_child(self) -> Session | None:
        """Forget the parent's session; returns it for /dev/null."""
        theirs, self.session, self._asked_at = self.session, None, 0.0
        self.worker.after_fork()
        return theirs

    def _round(self) -> float | None:
        if self.session is None and self.endpoint.health == "up":
            self._connect()
        if self.session is not None:
            self._probe(self.session)
        return PERIOD * random.uniform(0.9, 1.0) if self.session is not None else PERIOD / 10

    def _connect(self) -> None:
        try:
            with forking.connecting():
                self.session = open_session(self.endpoint.options, self._options, self.endpoint.quirks)
        except Exception:
            return  # the Opener learns what is wrong, and says so
        if self._stopped:
            self.close()

    def _probe(self, session: Session) -> None:
        self._asked_at = monotonic()
        try:
            (standby,) = session.execute("SELECT pg_catalog.pg_is_in_recovery()", None, 0).fetchone()
            self.endpoint.role = "standby" if standby else "primary"
        except Exception:
            self.close()
        finally:
            self._asked_at = 0.0

    def close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self._bury(session)
