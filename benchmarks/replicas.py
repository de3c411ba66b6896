"""A primary and two standbys, whose logs say who asked what."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from psycopg2.extensions import make_dsn

from pgdbpool.demo.cluster import Cluster

__all__ = ["LABELS", "Replicas", "replicas"]

LABELS = ("primary", "standby1", "standby2")
_SETTINGS = {"max_connections": "200", "shared_buffers": "128MB", "log_statement": "all", "log_line_prefix": "%a|"}
_ROLE, _PASSWORD = "bench", "of servers that live for minutes"
_SAID = re.compile(r"(?m)^([^|\n]*)\|LOG:  statement:")
_PATIENCE = 10.0  # seconds


class Replicas(NamedTuple):
    clusters: Sequence[Cluster]

    @property
    def primary(self) -> Cluster:
        return self.clusters[0]

    @property
    def standbys(self) -> Sequence[Cluster]:
        return self.clusters[1:]

    def endpoints(self) -> list[dict[str, Any]]:
        """For a configuration of pgdbpool."""
        place = {"host": "127.0.0.1", "dbname": _ROLE, "user": _ROLE, "password": _PASSWORD}
        return [
            {"dsn": make_dsn(**place, port=cluster.port), "label": label}
            for label, cluster in zip(LABELS, self.clusters, strict=True)
        ]

    def delay(self, milliseconds: int) -> None:
        """The standbys replay each commit so late."""
        setting = "SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
        for standby in self.standbys:
            standby.sql(f"ALTER SYSTEM SET recovery_min_apply_delay = {milliseconds}")
            standby.sql("SELECT pg_reload_conf()")
        until(lambda: all(standby.sql(setting) == [(str(milliseconds),)] for standby in self.standbys))

    def caught_up(self) -> None:
        [(written,)] = self.primary.sql("SELECT pg_current_wal_lsn()")
        there = "SELECT pg_last_wal_replay_lsn() >= %s"
        until(lambda: all(standby.sql(there, (written,)) == [(True,)] for standby in self.standbys))

    def said(self) -> Counter[str]:
        """How many statements the servers have got so far, by ``application_name``."""
        return Counter(name for cluster in self.clusters for name in _SAID.findall(cluster.log.read_text()))


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {_PATIENCE:g} s")
        time.sleep(0.001)


@contextmanager
def replicas() -> Iterator[Replicas]:
    """Embedded ones, for as long as the block lasts; each one's ``cluster_name`` is its label."""
    with ExitStack() as stack:
        primary = stack.enter_context(Cluster(settings={**_SETTINGS, "cluster_name": LABELS[0]}))
        primary.create_role(_ROLE, _PASSWORD)
        primary.create_database(_ROLE, _ROLE)
        named = [Cluster(primary=primary, settings={"cluster_name": label}) for label in LABELS[1:]]
        made = Replicas([primary, *(stack.enter_context(standby) for standby in named)])
        made.caught_up()
        yield made
