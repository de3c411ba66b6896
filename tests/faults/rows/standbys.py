"""One standby of two that goes and comes back: reads move to the other, and return."""

from __future__ import annotations

import time
from collections.abc import Callable

from pgdbpool.demo.cluster import Cluster
from tests.faults.measured import CONNECTIONS, IN_FLIGHT, Request
from tests.faults.namespace import Namespace, why_not
from tests.faults.replicas import READERS, Replicas
from tests.faults.rows.row import row
from tests.faults.scene import Load, Scene

_BUSY = "slow 0.02"  # an order: reads that long have 16 threads use all 8 connections
_MOVED, _BACK = 1.0, 3.0  # seconds until reads go to the other only, and until the one that is back has some
_QUICK = 0.5  # seconds for a read that goes to a server that answers
_FLOOD = 0.05  # the share of reads that the primary may have meanwhile


@row("13a", failed=IN_FLIGHT, told=1.7, back=0.1, clean=0.1)
def standby_killed(scene: Scene) -> None:
    """kill -9 of one standby of two: within 1 s all reads are the other's; 3 s after its return it has some again."""
    replicas = Replicas(scene)
    victim = replicas.standbys[1]
    _strike(scene, victim, victim.kill9, victim.start)


@row("13b", failed=CONNECTIONS, told=1.7, back=0.1, clean=0.1)
def standby_frozen(scene: Scene) -> None:
    """Every process of one standby of two stands still: the reads that it has end at their limit, and so on as before."""
    replicas = Replicas(scene)
    victim = replicas.standbys[1]
    _strike(scene, victim, victim.freeze, victim.thaw)


@row("13c", needs=why_not, failed=CONNECTIONS, told=1.7, back=0.1, clean=0.1)
def standby_cut_off(scene: Scene) -> None:
    """The kernel drops every packet to and from one standby of two: the same."""
    net = scene.entered(Namespace())
    replicas = Replicas(scene, apart=net)
    victim = replicas.standbys[1]
    _strike(scene, victim, lambda: net.drop(victim.port), net.heal)


def _strike(scene: Scene, victim: Cluster, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Under a load of reads, which the others send to the standbys by libpq's words."""
    with scene.load(shares={"read": 100}, place=READERS) as load:
        load.order(_BUSY)
        _await_reads(scene, victim, 10.0)
        with load.fault() as struck:
            begin()
            struck()
            scene.sleep(6, 2.2)
            end()
        _await_reads(scene, victim, _BACK)
    for peer, found in scene.results.items():
        ease = scene.ease.get(peer, 1.0)
        problems, found.facts["note"] = _judge(load, load.requests[peer], (victim.port, scene.server.port), ease)
        found.problems += problems


def _await_reads(scene: Scene, server: Cluster, seconds: float) -> None:
    """Until a read of the first pool goes there, which may begin later than a standby is up, or for so long."""
    text = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND query ~ 'balance' AND query_start > %s"
    limit = time.monotonic() + seconds * scene.ease.get(scene.peers[0], 1.0)
    [(now,)] = server.sql("SELECT clock_timestamp()")
    while not server.sql(text, (scene.name(scene.peers[0]), now)) and time.monotonic() < limit:
        time.sleep(0.02)


def _judge(load: Load, requests: list[Request], ports: tuple[int, int], ease: float) -> tuple[list[str], str]:
    """What is wrong with the shares of the victim and of the primary, and a note of what they were."""
    [window], (victim, primary) = load.windows, ports
    had = any(each.server == victim for each in requests if each.ended < window.began)
    later = [each for each in requests if window.struck + _MOVED < each.began < window.ended]
    caught = [each for each in later if each.outcome != "ok" or each.seconds > _QUICK * ease]
    since = [each for each in requests if each.began > window.began]
    share = sum(each.server == primary for each in since) / len(since)
    returns = [each.ended - window.ended for each in requests if each.server == victim and each.began > window.ended]
    back = min(returns, default=None)
    problems = [
        *([] if had else ["the victim had no reads before"]),
        *([f"{len(caught)} reads still went to it {_MOVED:g} s later"] if caught else []),
        *([f"the primary had {share:.0%} of the reads"] if share > _FLOOD else []),
        *(["it has no reads any more"] if back is None else []),
        *([f"it has reads again after {back:.2f} s"] if back is not None and back > _BACK * ease else []),
    ]
    return problems, f"primary {share:.1%}, reads again after {'–' if back is None else f'{back:.2f} s'}"
