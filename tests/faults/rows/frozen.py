"""Processes that stand still: the kernel acknowledges, nobody answers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from tests.faults.contestant import Contestant
from tests.faults.measured import LATE
from tests.faults.rows.row import row
from tests.faults.scene import BUSY, Load, Scene
from tests.life import stopped

_HALF_BUSY = "slow 0.015"


@row("6", failed=LATE, told=5.2, back=0.3, clean=0.5)
def server_frozen(scene: Scene) -> None:
    """Every process of the server stands still for 7 s: no thread waits longer than its limits."""
    scene.strike(scene.server.freeze, scene.server.thaw, lasts=7, short=5.5)


@row("7a", told=1.0, back=0.1, clean=0.1)
def postmaster_stopped_pool_full(scene: Scene) -> None:
    """Nobody takes connections for 7 s, when the pool has grown from 4 to all 8 that it needs: no request notices."""
    with scene.load(minimum=4) as load:
        load.order(BUSY)
        scene.grown(scene.peers[0], 8)
        load.order(_HALF_BUSY)
        with load.fault(), stopped(scene.server.pid):
            scene.sleep(7, 3)


@row("7b", told=1.0, back=0.1, clean=0.1)
def postmaster_stopped_pool_grows(scene: Scene) -> None:
    """Nobody takes connections for 7 s, when 4 are open and 8 are needed: the 4 serve everybody, in turn."""
    with scene.load(minimum=4, first=3) as load, load.fault(), stopped(scene.server.pid):
        load.order(BUSY)
        load.order("resume")
        scene.sleep(7, 3)


@row("8", failed=1, told=1.7, back=0.1, clean=1.7, slower=2)
def one_backend_stopped(scene: Scene) -> None:
    """One backend stands still for ever: one request fails at its limit, and another connection takes its place."""
    with scene.load() as load:
        scene.sleep(1.5, 1)
        with load.fault() as struck:
            for peer in scene.peers:
                _stop_one(scene, load, peer)
            struck()
            scene.sleep(5, 2.5)


@row("30")
def hung_query_freed(scene: Scene) -> None:
    """A query hangs with the server: it is freed at its limit, and meanwhile nothing holds the GIL."""

    def freeze(running: Mapping[str, Contestant]) -> None:
        for each in running.values():
            each.told("asking", 60)
        scene.server.freeze()
        scene.sleep(4, 3)
        scene.server.thaw()
        for each in running.values():
            each.order("over")

    scene.play("hung:freed", meanwhile=freeze)


def _stop_one(scene: Scene, load: Load, peer: str) -> None:
    """Stop the backend that answered last, while it does nothing: with a lock in hand it would hold up all others."""
    idle = "SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND wait_event = 'ClientRead'"
    limit = time.monotonic() + 10.0
    while time.monotonic() < limit:
        latest = f"{idle} AND application_name = %s ORDER BY state_change DESC LIMIT 1"
        for (pid,) in scene.sql(latest, (scene.name(peer),)):
            os.kill(pid, signal.SIGSTOP)
            if scene.sql(f"{idle} AND pid = %s", (pid,)):
                load.stopped.append(pid)
                return
            os.kill(pid, signal.SIGCONT)
    raise TimeoutError(f"no backend of {peer} is ever idle")
