"""What the servers say of themselves, taken together: which cluster is ours, and how far its WAL was when."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic

from pgdbpool.config import EndpointOptions
from pgdbpool.driver.position import Position, look, sample
from pgdbpool.driver.session import Refused, Session
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.events import Events
from pgdbpool.waiting import History, Ours, Role, is_fenced, is_foreign, ours

log = logging.getLogger("pgdbpool.topology")

# insufficient_privilege, undefined function, column or object, feature_not_supported: it would say so again
_NEVER = ("42501", "42883", "42703", "42704", "0A000")
_REFUSED = "%s will not say where it is in the WAL (%s): its lag is unknown, and it shows nobody's own writes"


class Topology:
    """The servers, and what is concluded from all of them. ``moved`` is called, outside the lock, when one is further.

    ``judges``: somebody looks at roles; else the servers may have nothing in common.
    """

    def __init__(
        self, options: tuple[EndpointOptions, ...], changed: Callable[[], None], judges: bool, events: Events
    ) -> None:
        self._judges = judges
        self._events = events
        self.history = History()
        self.endpoints = [Endpoint(each, changed, self.history, events) for each in options]
        self.known = Ours()
        self.moved: Callable[[], None] = lambda: None
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        # Guards `known` and who may write the history. Forbidden under it: I/O, logging, user code, any other lock.
        self._lock = threading.Lock()
        self.history.clear()
        for endpoint in self.endpoints:
            endpoint.after_fork_in_child()

    def ask(self, endpoint: Endpoint, session: Session, limit: float, read_only: bool | None = None) -> None:
        """Ask a server where it is, and what it is, over this session; raises where the session is lost.

        ``read_only``: whether its sessions are so by default, where this one does not tell.
        """
        if not endpoint.refuses:
            try:
                position = sample(session, limit)
                if read_only is None:
                    session.note_read_only()
                self._take(endpoint, position, session.read_only if read_only is None else read_only)
                return
            except Refused as error:
                if error.pgcode not in _NEVER:
                    raise
                endpoint.position = None
                endpoint.refuses = True  # no right to ask, or no PostgreSQL as we know it
                log.warning(_REFUSED, endpoint.label, error)
        session.ask_role(limit)
        endpoint.learn(session.in_recovery, session.read_only if read_only is None else read_only)

    def look(self, endpoint: Endpoint, session: Session, limit: float) -> None:
        """The same of a standby's progress alone, which costs it less."""
        asked = monotonic()
        replayed = look(session, limit)
        if replayed is not None:
            endpoint.looked(replayed, asked, monotonic())
            self.moved()

    def _take(self, endpoint: Endpoint, position: Position, read_only: bool) -> None:
        endpoint.located(position)
        self.judge(endpoint, "standby" if position.standby else "primary")  # first: nobody may write to who is out
        endpoint.learn(position.standby, read_only)
        if (
            self._judges
            and endpoint.role == "primary"
            and not (position.standby or endpoint.fenced or endpoint.foreign)
        ):
            with self._lock:
                if position.timeline == self.known.timeline:
                    self.history.note(min(position.lsn, position.flushed), position.asked)
        self.moved()

    def judge(self, heard_of: Endpoint | None = None, role: Role = "unknown") -> None:
        """Draw the conclusions from what is known now; one server has just said what its ``role`` is."""
        if not self._judges:
            return
        standings = [(each, each.standing(role if each is heard_of else None)) for each in self.endpoints]
        with self._lock:
            before = self.known
            known = self.known = ours(before, [standing for _, standing in standings])
            if (known.cluster, known.timeline) != (before.cluster, before.timeline):
                self.history.clear()
        if before.cluster and known.cluster != before.cluster:
            what = f"its system identifier is {known.cluster} now, and was {before.cluster}"
            self._events.tell(log, "cluster", "", f"the cluster was replaced: {what}")
        elif before.timeline and known.timeline > before.timeline:
            what = f"the cluster is on timeline {known.timeline} now"
            self._events.tell(log, "promotion", "", f"a standby was promoted: {what}")
        for endpoint, standing in standings:
            stays = (
                endpoint.fenced and standing.role == "primary" and not standing.timeline
            )  # nothing new was heard of it
            endpoint.judged(foreign=is_foreign(known, standing), fenced=stays or is_fenced(known, standing))
        if self.known != known:  # somebody knows more by now, and may have said so before these conclusions were told
            self.judge()
