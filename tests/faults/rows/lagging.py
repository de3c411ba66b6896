"""A standby that does not replay what it receives."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.faults.contestant import Contestant
from tests.faults.replicas import READERS, Replicas
from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("14")
def replay_paused(scene: Scene) -> None:
    """Replay stands still on one standby of two, with max_lag 1 s: no read is older than 2 s, and own writes are read."""
    [_, victim] = Replicas(scene).standbys

    def pause(running: Mapping[str, Contestant]) -> None:
        for each in running.values():
            each.told("reading", 60)
        scene.sleep(2, 1.4)
        victim.sql("SELECT pg_wal_replay_pause()")
        while victim.sql("SELECT pg_get_wal_replay_pause_state()") != [("paused",)]:
            time.sleep(0.002)
        _order(running, f"stand {victim.port}")
        scene.sleep(6, 3)
        victim.sql("SELECT pg_wal_replay_resume()")
        _order(running, f"go {victim.port}")
        scene.sleep(3, 1)
        _order(running, "over")

    # The others read by a pool of its own for standbys, as libpq offers it.
    scene.play("lagging:lagging", readers=READERS, meanwhile=pause, setting={"ours": {"group": {"max_lag": 1}}})


def _order(running: Mapping[str, Contestant], line: str) -> None:
    for each in running.values():
        each.order(line)
