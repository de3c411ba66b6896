"""What PostgreSQL says its sessions are doing, and who blocks whom: what any role with LOGIN may ask of its own sessions."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pgdbpool.driver.session import Session

# Of others' sessions such a role sees the name of the application, and neither state nor query (manual, 27.2). Who blocks is
# asked only of who waits for a lock, because the answer locks all of the lock manager for a moment (manual, 9.27).
# One text, which no type caster of the user's changes. A server that is too busy to say it in a second is not asked for longer:
# the session is its probe's.
_ASKED = """
SET LOCAL statement_timeout = 1000;
SELECT coalesce(pg_catalog.json_object_agg(pid, pg_catalog.json_build_object(
  'state', state,
  'state_seconds', extract(epoch FROM pg_catalog.clock_timestamp() - state_change),
  'waits_for', CASE WHEN state = 'active' THEN wait_event_type || ': ' || wait_event END,
  'blocked_by', CASE WHEN wait_event_type = 'Lock' THEN (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('pid', other.pid, 'who', other.application_name))
    FROM pg_catalog.pg_stat_activity AS other WHERE other.pid = ANY (pg_catalog.pg_blocking_pids(mine.pid))) END
)), '{}')::text
FROM pg_catalog.pg_stat_activity AS mine WHERE pid = ANY ('{%s}'::int[])
"""


def activity(session: Session, pids: Collection[int], limit: float) -> dict[int, dict[str, Any]]:
    """By process id: ``state``, ``state_seconds``, ``waits_for``, ``blocked_by``. Raises what ``Session.ask`` raises."""
    if not pids:
        return {}
    [(said,)] = session.ask(_ASKED % ",".join(map(str, pids)), None, limit)
    found = {int(pid): each for pid, each in json.loads(said).items()}
    return {pid: {**each, "blocked_by": each["blocked_by"] or []} for pid, each in found.items()}
