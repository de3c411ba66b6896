"""What one server says the sessions of this process are doing: asked by its monitor, and only while somebody looks."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from time import monotonic
from typing import Any

from pgdbpool.driver.activity import activity
from pgdbpool.driver.session import Refused, Session

LONG = 0.2  # seconds: who has a connection for less is gone before anybody could look
_FRESH = 3.0  # seconds in which an answer counts
_NOTHING: dict[str, Any] = {"state": None, "state_seconds": None, "waits_for": None, "blocked_by": []}


class Activity:
    """``wanted_until``: the monotonic time until which somebody looks."""

    def __init__(self) -> None:
        self.wanted_until = 0.0
        self._heard = 0.0
        self._said: dict[int, dict[str, Any]] = {}

    def ask(self, session: Session, pids: Collection[int], limit: float) -> None:
        """Raises where the session is lost."""
        session.takes_time = True
        try:
            with suppress(Refused):
                self._said, self._heard = activity(session, pids, limit), monotonic()
        finally:
            session.takes_time = False

    def of(self, pid: int) -> dict[str, Any]:
        """What was said of that session just now."""
        said = self._said.get(pid) if monotonic() < self._heard + _FRESH else None
        return said or _NOTHING
