"""What became of a transaction whose COMMIT was not answered: the primary that follows is asked, if it can know."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

import psycopg2

from pgdbpool.access.desk import MOMENT, Desk
from pgdbpool.driver.position import Position, sample
from pgdbpool.driver.session import Refused
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.owners import Owner
from pgdbpool.waiting import Slot

_PAUSE = 0.02  # seconds
_NAME = " xid "
_OF_THE_FUTURE = "22023"  # invalid_parameter_value: the server has never given out that number

# In front of the first writing statement, in its message. A local setting that is reported brings the number back; the
# session's name is in pg_stat_activity with it for as long, and comes back by itself at the transaction's end.
TRACK = (
    "SELECT pg_catalog.set_config('application_name', pg_catalog.left(pg_catalog.current_setting('application_name'), 38)"
    f" || '{_NAME}' || pg_catalog.pg_current_xact_id()::text, true)"
)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A transaction's id, and where its server was when it began to write."""

    xid: int
    position: Position | None


def place_of(slot: Slot) -> Position | None:
    """Where its server was a moment ago, or else is now."""
    endpoint: Endpoint = slot.shelf.source
    if endpoint.position is None:  # nobody probes it (yet)
        with suppress(Refused, psycopg2.Error):  # a lost one is found by the first statement
            endpoint.located(sample(slot.resource, MOMENT))
    return endpoint.position


def tracked(application_name: str | None, position: Position | None) -> Tracked | None:
    """What ``TRACK`` has brought back, of a transaction that began when its server was at ``position``."""
    _, name, number = (application_name or "").rpartition(_NAME)
    return Tracked(int(number), position) if name and number.isdigit() else None


def outcome_of(tracked: Tracked, desk: Desk, owner: Owner) -> str:
    """``"committed"``, ``"aborted"`` or ``"unknown"``; asks for as long as the group's ``timeout`` allows."""
    deadline = monotonic() + desk.timeout
    with suppress(psycopg2.Error, Refused):
        while (left := deadline - monotonic()) > 0:
            status, endpoint, now = _asked(tracked.xid, desk, owner, left)
            if status != "in progress":
                return judged(status, tracked, now, endpoint.kept_xid)
            sleep(_PAUSE)
    return "unknown"


def _asked(xid: int, desk: Desk, owner: Owner, patience: float) -> tuple[str | None, Endpoint, Position]:
    with desk.at_primary(owner, patience) as slot:
        now = sample(slot.resource, MOMENT)
        slot.shelf.source.located(now)
        try:
            [(status,)] = slot.resource.ask("SELECT pg_catalog.pg_xact_status(%s::text::xid8)", (xid,), MOMENT)
        except Refused as refused:
            status = "aborted" if refused.pgcode == _OF_THE_FUTURE else None
        return status, slot.shelf.source, now


def judged(status: str | None, tracked: Tracked, now: Position, kept_xid: int) -> str:
    """What the server's word is worth. Numbers that no WAL had yet when a server crashed are given out again.

    So "committed" may be said of somebody else's transaction. It is of this one where the server did not crash since, or
    where the number was in its history already when it came back, or was promoted. Where a promotion came between, and
    commits do not wait for standbys, whatever the new primary says may be of another history.
    """
    before = tracked.position
    if before is None or now.standby or now.cluster != before.cluster or status not in ("committed", "aborted"):
        return "unknown"
    is_kept = status == "aborted" or tracked.xid < kept_xid
    if now.timeline == before.timeline:
        known = is_kept or now.unbroken == before.unbroken
    else:
        known = is_kept and before.synchronous and now.timeline == before.timeline + 1
    return status if known else "unknown"
