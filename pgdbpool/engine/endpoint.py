"""What the pool knows of one server: whether it can be reached, since when not, why not, and what it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from time import monotonic
from typing import Any, Literal

from pgdbpool.config import EndpointOptions
from pgdbpool.driver.failures import ConnectFailure
from pgdbpool.driver.place import listens
from pgdbpool.driver.position import Position
from pgdbpool.engine.activity import Activity
from pgdbpool.engine.events import Events, Kind
from pgdbpool.engine.timing import Timing
from pgdbpool.waiting import NO_LAG, UNKNOWN, Backoff, History, Lag, Mark, Role, Standing, View

log = logging.getLogger("pgdbpool.endpoint")

# full: takes no further session; silent: a probe is overdue; down: cannot be reached; failed: and only a change over
# there can mend that (password, database, TLS, …)
Health = Literal["unknown", "up", "full", "silent", "down", "failed"]

_THERE = ("up", "full")
_AWAY = ("silent", "down", "failed")
_EASING = 5.0  # seconds in which a server that was away comes back to its whole share
_FIRST_SHARE = 0.1
_FRESH = 1.5  # seconds since an answer to a probe in which it counts
HOT = 1.0  # seconds before an error that lasts is tried again, however many ask


class Endpoint:
    """One server's health, role and position. Whatever may change where requests go is told to ``changed``, outside the lock.

    ``history``: the primary's, which a standby's lag is measured by. ``connect``: how long connecting took.
    """

    def __init__(
        self,
        options: EndpointOptions,
        changed: Callable[[], None] = lambda: None,
        history: History | None = None,
        events: Events | None = None,
    ) -> None:
        self.options = options
        self._events = events or Events()
        self.connect = Timing()
        self.label = options.label
        self.quirks: set[str] = set()
        self.role: Role = self._configured_role()
        self.read_only = False
        self.identity: Hashable = None
        self.drained = False
        self.cluster: str | None = None  # its system identifier, as it was last told
        # Every transaction id below it was in its history when it was last a standby, or came back from a crash: from then
        # on those that were not may be given out again.
        self.kept_xid = 0
        self._unbroken = ""
        self.foreign = self.fenced = False
        self.refuses = False  # to say where it is
        self.history = history or History()
        self.answered_at: float | None = None  # the last probe; written by the Monitor alone
        self.failed_at = self.seen_at = self._away_since = 0.0
        self._changed = changed
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        # Guards all that changes. Forbidden under it: I/O, logging, user code, any other lock.
        self._lock = threading.Lock()
        self._backoff = Backoff()
        self.connect.restart()
        self.connects = self.connect_errors = 0
        self.last_error: BaseException | None = None
        self.last_failure: ConnectFailure | None = None
        self.activity = Activity()
        self.capacity: int | None = None  # how many connections our role may have there
        self._is_deaf = False
        self._back_at = 0.0
        self._dialled_since: float | None = None
        self.health: Health = "unknown"
        self.position: Position | None = None  # as it was last told; None while it is away

    def _tell(self, kind: Kind, text: str, level: int = logging.WARNING) -> None:
        self._events.tell(log, kind, self.label, text, level)

    # -- what happens to it -------------------------------------------------------------------------------------------

    def _note(self, **news: Any) -> bool:
        """Take it up; whether it was news."""
        with self._lock:
            before = self.health
            changed = [name for name, value in news.items() if getattr(self, name) != value]
            for name in changed:
                setattr(self, name, news[name])
            now = monotonic()
            if self.health in _THERE and (before in _AWAY or (before == "unknown" and self.connects)):
                self._back_at = now
            elif before not in _AWAY and self.health in _AWAY:
                self._away_since = now
                self.position = self.capacity = None  # it may come back as another one
        if changed:
            self._changed()
        return bool(changed)

    def dial(self, *, knock: bool = True) -> bool:
        """Whether it may be dialled now: one attempt at a time and a pause after each failed one, until one succeeds.

        ``knock``: where nobody answered, a bare handshake (0.3 s at most) ends the pause as soon as somebody listens again.
        True is to be followed by ``hang_up()``, whatever happens, besides ``connected()``, ``reached()`` or ``refused()``.
        """
        return self._permit() or (knock and self._may_knock() and listens(self.options) and self._permit(heard=True))

    def _permit(self, heard: bool = False) -> bool:
        with self._lock:
            now = monotonic()
            paused = self._backoff.delay(now) > 0 and not heard
            if self.drained or paused or (self._dialled_since and self.health != "up"):
                return False
            self._dialled_since = now
            return True

    def _may_knock(self) -> bool:
        with self._lock:
            return self._is_deaf and not self._dialled_since and not self.drained

    def hang_up(self) -> None:
        """Nobody dials it any more, however that ended."""
        with self._lock:
            self._dialled_since = None

    def delay(self) -> float:
        """Seconds until the next attempt to connect is allowed."""
        with self._lock:
            return self._backoff.delay(monotonic())

    def connected(self, took: float = 0.0) -> None:
        """A connection of some group is open, after so many seconds."""
        self.reached()
        self.connect.note(took)
        with self._lock:
            self.connects += 1

    def reached(self) -> None:
        """An attempt to connect succeeded."""
        with self._lock:
            was, since = self.health, self._away_since
            self.seen_at = monotonic()
            self._dialled_since = None
            self._is_deaf = False
            self._backoff.succeeded()
        self._note(health="up")
        if was in ("down", "failed"):
            self._tell("back", f"back after {monotonic() - since:.1f} s")

    def refused(self, error: BaseException, failure: ConnectFailure, at_least: float = 0.0) -> None:
        """An attempt to connect failed; ``at_least`` so many seconds pass before the next."""
        error = error.with_traceback(None)  # its frames would keep the attempt's socket open, and the password in sight
        with self._lock:
            was = self.health
            self.connect_errors += 1
            self._dialled_since = None
            self.last_error, self.last_failure, self.failed_at = error, failure, monotonic()
            if self._is_deaf and failure.kind != "deaf":
                self._backoff.succeeded()  # somebody answers again, if only that it is starting
            self._is_deaf = failure.kind == "deaf"
            first = not self._backoff.not_before
            self._backoff.failed(monotonic(), failure.longest_pause, max(at_least, HOT if failure.permanent else 0.0))
        keeps = failure.kind == "full" or (was == "full" and self.answers(monotonic()))
        health = "full" if keeps and was in _THERE else "failed" if failure.permanent else "down"
        if self._note(health=was if failure.kind == "descriptors" else health) or first:
            self._tell("down", f"cannot connect: {failure.text}")

    def answers(self, now: float) -> bool:
        """Whether its last probe was answered just now."""
        return self.answered_at is not None and now - self.answered_at < _FRESH

    def learn(self, in_recovery: bool, read_only: bool | None = None) -> None:
        """What a session of it reports; not every one can tell whether others are read-only by default."""
        read_only = self.read_only if read_only is None else read_only
        role = "standby" if in_recovery else "primary"
        if self.options.role == "auto" and self._note(role=role, read_only=read_only):
            self._tell("role", f"is a {role}{', read-only by default' if read_only else ''}", logging.INFO)

    def located(self, position: Position) -> None:
        """Where it was just now; what was asked earlier and comes later is no news."""
        with self._lock:
            first = self.position is None
            if self.position is None or position.asked >= self.position.asked:
                self.position = position
                if position.standby:
                    self.kept_xid = position.next_xid
                elif position.unbroken != self._unbroken:
                    self.kept_xid = position.recovered_xid
                self._unbroken = position.unbroken
        # A cluster's servers share its identifier, but not the start: both are equal for two addresses of one server.
        if not self._note(cluster=position.cluster, identity=(position.cluster, position.started)) and first:
            self._changed()

    def looked(self, lsn: int, asked: float, heard: float) -> None:
        """A standby has replayed so much."""
        with self._lock:
            known = self.position
            if known is not None and known.standby and lsn > known.lsn and asked > known.asked:
                age = None if known.age is None else known.age + heard - known.heard
                self.position = replace(known, lsn=lsn, asked=asked, heard=heard, age=age)

    def judged(self, *, foreign: bool, fenced: bool) -> None:
        """Whether it belongs to another cluster, or is a primary whose time is over."""
        if self._note(foreign=foreign, fenced=fenced) and (foreign or fenced):
            why = "belongs to another cluster" if foreign else "is a primary on a timeline that has ended"
            self._tell("cluster", f"{why}: it is not used")

    def overdue(self) -> None:
        """A probe is not answered."""
        if self.health in _THERE and self._note(health="silent"):
            self._tell("silent", "does not answer", logging.INFO)

    def answered(self) -> None:
        """A probe was answered: it is there, but for new sessions if the last attempt at one failed."""
        self.answered_at = self.seen_at = monotonic()
        if self.health not in _THERE:
            self._note(health="full" if self.health in ("down", "failed") else "up")
            self._tell("back", "answers", logging.INFO)

    def drain(self) -> None:
        if self._note(drained=True):
            self._tell("drain", "drained", logging.INFO)

    def resume(self) -> None:
        """Back to work. What it was before does not count: it is dialled at once, and tells what it is now."""
        if self.drained:
            with self._lock:
                self._backoff.succeeded()
            self._note(drained=False, health="unknown", role=self._configured_role())
            self._tell("drain", "back to work", logging.INFO)

    def _configured_role(self) -> Role:
        return "unknown" if self.options.role == "auto" else self.options.role  # type: ignore[return-value]

    # -- what is known of it ------------------------------------------------------------------------------------------

    def view(self) -> View:
        """For routing. Reads single attributes: whatever changes one of them has the routes made anew afterwards."""
        return View(
            role=self.role,
            read_only=self.read_only,
            there=self.health in _THERE,
            full=self.health == "full",
            away=self.health in ("down", "failed"),
            silent=self.health == "silent",
            drained=self.drained,
            weight=self.options.weight * self._eased(monotonic()),
            identity=self.identity,
            fixed=self.options.role != "auto",
            foreign=self.foreign,
            fenced=self.fenced,
            lag=self.lag(monotonic()),
        )

    def lag(self, now: float | None = None) -> Lag:
        """How far a standby is behind ``now``; without it, was when it was asked."""
        position = self.position
        if self.role != "standby" or position is None:
            return UNKNOWN
        if not position.standby:
            return NO_LAG  # by configuration; PostgreSQL knows no lag of a logical replica
        now = position.heard if now is None else now
        return self.history.lag(position.lsn, position.complete, position.age, position.heard, now)

    @property
    def mute(self) -> bool:
        """Whether nobody can tell what it has replayed: it refuses to say, or is a standby by configuration alone."""
        position = self.position
        return self.refuses or (position is not None and self.role == "standby" and not position.standby)

    def shows(self, mark: Mark) -> bool:
        """Whether what was written up to there can be read there."""
        position = self.position
        if self.role == "primary":
            return True
        return position is not None and position.standby and mark.is_in(position)

    def standing(self, heard: Role | None = None) -> Standing:
        """For judging which cluster is ours; ``heard``: the role that it has just told."""
        role = heard if heard and self.options.role == "auto" else self.role
        position, away = self.position, monotonic() - self._away_since if self.health in _AWAY else 0.0
        cluster = position.cluster if position else self.cluster
        cluster = cluster if self.options.role == "auto" else None
        return Standing(role, cluster, position.timeline if position else 0, away)

    def _eased(self, now: float) -> float:
        return max(_FIRST_SHARE, min(1.0, (now - self._back_at) / _EASING)) if self._back_at else 1.0

    @property
    def state(self) -> str:
        if self.drained:
            return "drained"
        return "foreign" if self.foreign else "fenced" if self.fenced else self.health

    def describe(self) -> str:
        """``label up`` or ``label down for 3.2 s: last connect error``."""
        with self._lock:
            now, state, since = monotonic(), self.state, self._away_since
            failure = self.last_failure if self._backoff.not_before else None  # it was not reached since
            dialled = now - self._dialled_since if self._dialled_since else 0.0
        words = f"{self.label} {state}" + (f" for {now - since:.1f} s" if state in _AWAY else "")
        if self.role != "unknown":
            words += f" ({self.role}{'' if self.options.role == 'auto' else ' by configuration'})"
        if dialled > HOT:
            words += f", connecting for {dialled:.1f} s"
        return f"{words}: {failure.text}" if failure is not None and state != "drained" else words


def latest_error(endpoints: Iterable[Endpoint]) -> BaseException | None:
    """The last connect error to any of them, however long ago."""
    latest = max(endpoints, key=lambda each: each.failed_at, default=None)
    return latest.last_error if latest is not None else None
