"""Where a server is in the WAL, and in which: what any role with LOGIN may ask.

For such a role ``pg_stat_wal_receiver`` shows but the process id, so the timeline that a standby follows is known from its
control file alone, which says so from the first restartpoint on that timeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from pgdbpool.driver.session import Session

# One statement, because a promotion may come between two. The functions that fail on the other kind of server are behind
# CASE, which a volatile function is not folded out of (manual, 9.18).
_SAMPLE = """
SELECT standby, system_identifier::text, greatest(timeline_id, min_recovery_end_timeline),
  checkpoint_lsn::text, next_xid::text,
  CASE WHEN NOT standby THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END,
  (CASE WHEN standby THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text,
  CASE WHEN standby THEN (pg_catalog.pg_stat_get_wal_receiver()).pid IS NOT NULL
    AND pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() END,
  CASE WHEN standby THEN extract(epoch FROM
    pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 END,
  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text,
  pg_catalog.current_setting('synchronous_standby_names') <> '', pg_catalog.pg_postmaster_start_time()
FROM pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.pg_control_system(),
  pg_catalog.pg_control_checkpoint(), pg_catalog.pg_control_recovery()
"""
_LOOK = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn()::text"

# Behind a COMMIT in the same message, or alone: a position behind all that was committed before.
WRITTEN = "SELECT pg_catalog.pg_walfile_name(p), p::text FROM pg_catalog.pg_current_wal_insert_lsn() AS p"


@dataclass(frozen=True, slots=True)
class Position:
    """What a server said of itself. ``asked`` and ``heard`` are monotonic times: it was so at some moment in between.

    ``lsn``: what a primary has written, what a standby has replayed. ``complete``: a standby streams, and has replayed all
    that it received. ``age``: seconds since the last transaction that it replayed, by both servers' clocks. ``next_xid``:
    every transaction id below it is in this server's history, ``checkpoint_xid``: and was at its last checkpoint, which is
    at ``checkpoint``. ``synchronous``: commits wait for standbys. ``started``: when this server did.
    """

    asked: float
    heard: float
    standby: bool
    cluster: str
    timeline: int
    lsn: int
    complete: bool = False
    age: float | None = None
    next_xid: int = 0
    checkpoint: str = ""
    checkpoint_xid: int = 0
    synchronous: bool = False
    started: Any = None


def sample(session: Session, limit: float) -> Position:
    """Ask for all of it, within ``limit`` seconds. Raises what ``Session.ask`` raises."""
    asked = monotonic()
    [row] = session.ask(_SAMPLE, None, limit)
    standby, cluster, timeline, checkpoint, checkpoint_xid, file, lsn, complete, age, next_xid, synchronous, started = (
        row
    )
    heard = monotonic()
    session.in_recovery = standby
    epoch, _, xid = checkpoint_xid.partition(":")
    return Position(
        asked,
        heard,
        standby,
        cluster,
        timeline_of(file) if file else timeline,
        position(lsn),
        bool(complete),
        age,
        int(next_xid),
        checkpoint,
        (int(epoch) << 32) + int(xid),
        synchronous,
        started,
    )


def look(session: Session, limit: float) -> int | None:
    """What a standby has replayed now; None where it is none."""
    [(standby, lsn)] = session.ask(_LOOK, None, limit)
    return position(lsn) if standby else None


def position(text: str) -> int:
    """A ``pg_lsn`` as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def timeline_of(file: str) -> int:
    """The timeline in the name of a WAL file: its first eight digits (manual, WAL Internals)."""
    return int(file[:8], 16)
