"""Where a server is in the WAL, and in which: what any role with LOGIN may ask.

For such a role ``pg_stat_wal_receiver`` shows but the process id, so the timeline that a standby follows is known from its
control file alone, which says so from the first restartpoint on that timeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from pgdbpool.driver.session import Session

# Behind a COMMIT in the same message, or alone: a position behind all that was committed before.
WRITTEN = """
SELECT pg_catalog.concat_ws(' ', file_name, p::text, file_offset::text, pg_catalog.current_setting('wal_block_size'))
FROM pg_catalog.pg_current_wal_insert_lsn() AS p, LATERAL pg_catalog.pg_walfile_name_offset(p)
"""

# One statement, because a promotion may come between two. The functions that fail on the other kind of server are behind
# CASE, which a volatile function is not folded out of (manual, 9.18). One text, which no type caster of the user's changes.
# The checkpoint that ends a recovery has nothing between its redo point and itself (an online one has, at least what runs), and
# the crash has discarded the statistics after the server's start (a shutdown's checkpoint, which looks alike, does not).
_SAMPLE = f"""
SELECT pg_catalog.concat_ws('|', standby::text, system_identifier::text,
  greatest(timeline_id, min_recovery_end_timeline)::text,
  CASE WHEN standby THEN coalesce(pg_catalog.pg_last_wal_replay_lsn()::text, '0/0') ELSE ({WRITTEN}) END,
  CASE WHEN standby AND (pg_catalog.pg_stat_get_wal_receiver()).pid IS NOT NULL
    THEN coalesce((pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn())::text, '') ELSE '' END,
  CASE WHEN standby THEN coalesce(extract(epoch FROM
    pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::text, '') ELSE '' END,
  CASE WHEN redo_lsn = checkpoint_lsn AND pg_catalog.current_setting('wal_level') <> 'minimal'
    AND pg_catalog.pg_postmaster_start_time() < pg_catalog.pg_stat_get_bgwriter_stat_reset_time()
    THEN next_xid::text ELSE '0:0' END,
  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text,
  (pg_catalog.current_setting('synchronous_standby_names') <> '')::text,
  coalesce(extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::text, ''),
  extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text,
  CASE WHEN standby THEN '0/0' ELSE pg_catalog.pg_current_wal_flush_lsn()::text END)
FROM pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.pg_control_system(),
  pg_catalog.pg_control_checkpoint(), pg_catalog.pg_control_recovery()
"""
_LOOK = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()::text END"
_LONG_HEADER, _SHORT_HEADER = 40, 24  # bytes, of a segment's first page and of any other (xlog_internal.h)


@dataclass(frozen=True, slots=True)
class Position:
    """What a server said of itself. ``asked`` and ``heard`` are monotonic times: it was so at some moment in between.

    ``lsn``: what a primary has written, what a standby has replayed. ``complete``: a standby has replayed all that it
    received; None where it receives nothing. ``age``: seconds since the last transaction that it replayed, by both servers'
    clocks. ``next_xid``: every transaction id below it is in this server's history, ``recovered_xid``: and was when it came
    back from a crash, 0 where that is not known any more. ``synchronous``: commits wait for standbys. ``unbroken``: changes
    when it crashes (which discards its statistics). ``started``: when the server did.
    ``flushed``: what a primary has flushed, and so sends to standbys; what an open transaction has written may not be.
    """

    asked: float
    heard: float
    standby: bool
    cluster: str
    timeline: int
    lsn: int
    complete: bool | None = None
    age: float | None = None
    next_xid: int = 0
    recovered_xid: int = 0
    synchronous: bool = False
    unbroken: str = ""
    started: str = ""
    flushed: int = 0


def sample(session: Session, limit: float) -> Position:
    """Ask for all of it, within ``limit`` seconds. Raises what ``Session.ask`` raises."""
    asked = monotonic()
    [(said,)] = session.ask(_SAMPLE, None, limit)
    *words, started, flushed = said.split("|")
    standby, cluster, timeline, place, complete, age, recovered, xmax, synchronous, unbroken = words
    epoch, _, xid = recovered.partition(":")
    session.in_recovery = standby == "true"
    return Position(
        asked,
        monotonic(),
        session.in_recovery,
        cluster,
        *((int(timeline), position(place)) if session.in_recovery else written(place)),
        complete == "true" if complete else None,
        float(age) if age else None,
        int(xmax),
        (int(epoch) << 32) + int(xid),
        synchronous == "true",
        unbroken,
        started,
        position(flushed),
    )


def look(session: Session, limit: float) -> int | None:
    """What a standby has replayed now; None where it is none."""
    [(lsn,)] = session.ask(_LOOK, None, limit)
    return None if lsn is None else position(lsn)


def written(said: str) -> tuple[int, int]:
    """Timeline and position, as ``WRITTEN`` was answered.

    The timeline is in the first eight digits of a file's name (manual, WAL Internals). A position behind the header of a new
    page is that of the page: a standby has no more to replay until something is written on it.
    """
    file, lsn, offset, block = said.split(" ")
    header = _SHORT_HEADER if int(offset) % int(block) == _SHORT_HEADER else 0
    header = _LONG_HEADER if int(offset) == _LONG_HEADER else header
    return int(file[:8], 16), position(lsn) - header


def position(text: str) -> int:
    """A ``pg_lsn`` as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)
