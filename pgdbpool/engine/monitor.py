"""One light probe per server and second, on a connection of its own: is it there, and what is it?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from pgdbpool.config import GroupOptions
from pgdbpool.driver.failures import understand
from pgdbpool.driver.opening import open_session
from pgdbpool.driver.session import Session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.worker import Worker

PERIOD = 1.0
PATIENCE = 3.0  # seconds without an answer, three probes' time, after which a server counts as silent
_RECENT = 0.4  # seconds
_LOOK, _GLANCE = 0.002, 0.05  # seconds between two looks while a read waits for it, and after it has waited in vain


def connect(endpoint: Endpoint, options: GroupOptions, restraint: float = 0.0) -> Session:
    """A session for the pool's own questions, where ``endpoint.dial()`` has permitted it; the endpoint learns of a failure.

    ``restraint``: seconds until the next attempt, for each second that a failed one took. Raises what libpq raises.
    """
    began = monotonic()
    try:
        with forking.connecting():
            return open_session(endpoint.options, options, endpoint.quirks)
    except Exception as error:
        endpoint.refused(error, understand(error), restraint * (monotonic() - began))
        raise
    finally:
        endpoint.hang_up()


@dataclass
class Hooks:
    """What a monitor asks the engine."""

    left_to_groups: Callable[[], bool]  # somebody else dials this server
    in_the_way: Callable[[], bool]  # a full server has no place for a group that has none
    ask: Callable[[Session], None]  # the probe itself; raises where the session is lost
    look: Callable[[Session], None]  # the same for a standby's progress alone
    is_waited_for: Callable[[], bool]  # a read waits for a standby's progress
    period: Callable[[], float]  # seconds between two probes
    bury: Callable[[Session], None]


class Monitor:
    """Probes one server by blocking calls, which the Watch cuts when the patience is over.

    A server that is not reached is left to the groups that want a connection to it: one dials, not both. Where a full one
    has no place for a group that has none, the probe is ``in_the_way`` and gives up its own. While somebody waits for a
    standby to show what was written, it is looked at every few milliseconds.
    """

    def __init__(self, endpoint: Endpoint, options: GroupOptions, hooks: Hooks) -> None:
        self.endpoint = endpoint
        self._options = options
        self._hooks = hooks
        self.session: Session | None = None
        self._moved = self._dozes = False
        self._looks_until = self._asked_at = 0.0
        self.worker = Worker(f"pgdbpool-monitor-{endpoint.label}", self._round)

    def hurry(self, now: float) -> None:
        """An answer to somebody takes long: probe out of turn, unless that was done just now."""
        session, answered_at = self.session, self.endpoint.answered_at
        if session is not None and not session.deadline and now - (answered_at or 0.0) > _RECENT:
            self.worker.nudge()

    def chase(self, until: float) -> None:
        """Somebody waits for this standby's progress, until then."""
        self._looks_until = until
        if self._dozes:
            self._dozes = False
            self.worker.nudge()

    def move(self, found: set[str]) -> None:
        """The server's addresses are these now: a session to another one is no judge of it any more."""
        if self.session is not None and self.session.peer not in found:
            self._moved = True
            self.worker.nudge()

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
            if self.endpoint.drained or self._moved or (self.endpoint.health == "full" and self._hooks.in_the_way()):
                self._moved = False
                self._close()
            if self.session is None and not self.endpoint.drained:
                self._dial()
            if (session := self.session) is not None and not self.worker.stopped:
                self._probe(session, monotonic())
        except Exception:  # the Keeper learns what is wrong, and says so
            self.endpoint.answered_at = 0.0
            self._close()
        if self.worker.stopped:
            self._close()
        if self.session is not None:
            now, period = monotonic(), self._hooks.period() * random.uniform(0.9, 1.0)
            self._dozes = True  # before the look at who waits: whoever comes after that nudges
            look = _LOOK if self._hooks.is_waited_for() else _GLANCE
            pause = look if now < self._looks_until else max(0.001, self._asked_at + period - now)
            self._dozes = pause > _LOOK
            return pause
        return PERIOD / 10 if self.endpoint.state in ("unknown", "up") else PERIOD / 3

    def _probe(self, session: Session, now: float) -> None:
        if now < self._looks_until and now < self._asked_at + PERIOD:
            self._hooks.look(session)
            return
        self._hooks.ask(session)
        self._asked_at = now
        self.endpoint.answered()

    def _dial(self) -> None:
        endpoint = self.endpoint
        if (endpoint.health != "up" and self._hooks.left_to_groups()) or not endpoint.dial():
            return
        session = self.session = connect(endpoint, self._options)
        self._hooks.ask(session)
        endpoint.reached()

    def _close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self._hooks.bury(session)
