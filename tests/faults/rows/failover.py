"""A primary that is lost, or gives its place to a standby: writes follow, and none goes to whoever was primary before."""

from __future__ import annotations

import time

from pgdbpool.demo.cluster import Cluster
from tests.faults.measured import IN_FLIGHT, Measured
from tests.faults.replicas import Replicas
from tests.faults.rows.row import row
from tests.faults.scene import DATABASE, Load, Scene

_MIXED = {"read": 50, "insert": 25, "transfer": 15, "primary": 10}
_REFUSED = "read-only transaction"  # what a standby says to a write (25006)


@row("11", failed=IN_FLIGHT, told=3.7, back=0.3, clean=0.3, written=True, never=_REFUSED)
def primary_killed(scene: Scene) -> None:
    """kill -9 of the primary, and 1 s later the foremost of two synchronous standbys is promoted: writes wait for it."""
    replicas, old = Replicas(scene, synchronous=True), scene.server
    with scene.load(shares=_MIXED) as load:
        with load.fault() as struck:
            old.kill9()
            struck()
            time.sleep(1)
            replicas.promote(replicas.foremost())
        replicas.follow()


@row("12a", failed=IN_FLIGHT, told=3.7, back=0.3, clean=0.3, written=True, never=_REFUSED)
def switchover(scene: Scene) -> None:
    """The primary is shut down, a standby promoted, the old one back as its standby: no read fails, no write is refused."""
    replicas, old = Replicas(scene), scene.server
    with scene.load(shares=_MIXED) as load:
        _switch_over(replicas, load, old)
        replicas.follow(old)
        scene.sleep(4, 0)
    for peer, found in scene.results.items():
        failed = [each for each in load.requests[peer] if each.kind == "read" and each.outcome != "ok"]
        found.problems += [f"{len(failed)} reads failed: {failed[0].error}"] if failed else []


@row("12b", failed=IN_FLIGHT, told=3.7, back=0.3, clean=0.3, written=True, never=_REFUSED)
def old_primary_started(scene: Scene) -> None:
    """After a switchover somebody starts the old primary as one, and the pools' connections end: no write goes there."""
    replicas, old = Replicas(scene), scene.server
    with scene.load(shares=_MIXED) as load:
        _switch_over(replicas, load, old)
        replicas.follow()
        old.start()
        scene.sleep(2, 0.5)
        with load.fault():
            scene.terminate(scene.sessions())
        scene.sleep(3, 0)
    for peer, found in scene.results.items():
        _judge_old(scene, peer, found, old)


def _switch_over(replicas: Replicas, load: Load, old: Cluster) -> None:
    with load.fault() as struck:
        old.stop("fast")
        struck()
        replicas.promote(replicas.foremost())


def _judge_old(scene: Scene, peer: str, found: Measured, old: Cluster) -> None:
    """Whether what it holds is also in the present primary, which has all that it held when it was shut down."""
    keys = f"SELECT key FROM {scene.schema(peer)}.entry"
    astray = set(old.sql(keys, dbname=DATABASE)) - set(scene.sql(keys))
    found.problems += [f"{len(astray)} writes went to the old primary"] if astray else []
