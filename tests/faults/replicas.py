"""A primary with two standbys under the pools, and the change of their roles."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pgdbpool.demo.cluster import Cluster
from tests.faults.namespace import Namespace
from tests.faults.scene import Scene

__all__ = ["READERS", "Replicas"]

# How libpq is told to spread what only reads over the standbys ("load_balance_hosts" in PostgreSQL's manual).
READERS = {"target_session_attrs": "prefer-standby", "load_balance_hosts": "random"}
_SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = %s"


class Replicas:
    """The scene's server and two standbys of it, all of which the pools are told of.

    ``synchronous``: a COMMIT waits until one of the standbys has it, so the foremost of them has all that were acknowledged.
    ``apart``: the namespace in which the second standby is born.
    """

    def __init__(self, scene: Scene, *, synchronous: bool = False, apart: Namespace | None = None) -> None:
        self._scene, self._synchronous = scene, synchronous
        standbys = [Cluster(primary=scene.server), Cluster(primary=scene.server)]
        starts = [partial(scene.entered, each) for each in standbys]
        if apart:
            settings, rules = {"listen_addresses": apart.address}, "host all all samenet scram-sha-256\n"
            standbys[1] = Cluster(primary=scene.server, settings=settings, hba=rules)
            starts[1] = partial(apart.run, scene.entered, standbys[1])
        with ThreadPoolExecutor() as executor:
            for started in [executor.submit(start) for start in starts]:
                started.result()
        scene.hosts |= {standbys[0]: scene.host, standbys[1]: apart.address if apart else scene.host}
        self.settled()

    @property
    def standbys(self) -> list[Cluster]:
        """Those that run."""
        return [each for each in self._scene.running if each is not self._scene.server]

    def settled(self, seconds: float = 20.0) -> None:
        """Wait until all standbys show what the primary holds now; from then on its COMMITs wait for one, if they are to."""
        primary = self._scene.server
        [(lsn,)] = primary.sql("SELECT pg_current_wal_lsn()")
        _wait(seconds, lambda: all(each.sql(_SHOWS, (lsn,)) == [(True,)] for each in self.standbys))
        if self._synchronous:
            primary.sql(_SYNCHRONOUS, ("ANY 1 (*)",))
            primary.sql("SELECT pg_reload_conf()")

    def foremost(self) -> Cluster:
        """The standby that has received most; the primary is gone."""
        return max(self.standbys, key=lambda each: each.sql("SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn")[0])

    def promote(self, standby: Cluster) -> None:
        """Return at the moment from which it takes writes. It waits for no standby: none follows it yet."""
        standby.sql(_SYNCHRONOUS, ("",))
        standby.sql("SELECT pg_reload_conf()")
        standby.sql("SELECT pg_promote(false)")
        _wait(20.0, lambda: standby.sql("SELECT pg_is_in_recovery()") == [(False,)])
        self._scene.server = standby

    def follow(self, *others: Cluster) -> None:
        """The other standby, and ``others`` that do not run, are standbys of the present primary from now on."""
        for each in [*self.standbys, *others]:
            each.follow(self._scene.server)


_SHOWS = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"


def _wait(seconds: float, condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"the servers have not changed over after {seconds:g} s")
        time.sleep(0.005)
