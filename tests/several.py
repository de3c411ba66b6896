"""Several servers that are one thing to a test: a primary with two standbys, or three primaries, of one cluster or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from pgdbpool.demo.cluster import Cluster
from tests.life import thread_of
from tests.servers import SETTINGS, EmbeddedServer, Server, at_hand, eventually

WHO = "SELECT current_setting('cluster_name')"  # the label of the server that answers


class Several:
    """Servers by their labels, embedded ones always."""

    def __init__(self, by_label: Mapping[str, Server]) -> None:
        self.by_label = dict(by_label)

    @property
    def servers(self) -> Sequence[Server]:
        return list(self.by_label.values())

    def config(
        self, group: dict[str, Any] | None = None, *, each: Mapping[str, dict[str, Any]] | None = None, **endpoint: Any
    ) -> dict[str, Any]:
        """As ``Server.config``, with all servers as endpoints by their labels; ``each`` is what single ones have more."""
        own = each or {}
        endpoints = [
            server.endpoint(label=label, **{**endpoint, **own.get(label, {})})
            for label, server in self.by_label.items()
        ]
        return {"db": endpoints, "groups": {"web": {"connection_count": 4, **(group or {})}}}

    def label(self, server: Server) -> str:
        return next(label for label, known in self.by_label.items() if known is server)

    def repair(self) -> None:
        """Have all of them run again."""
        for server in self.servers:
            server.thaw()
            if not server.running:
                server.start()

    def close(self) -> None:
        for server in reversed(self.servers):
            server.close()


class Replicas(Several):
    """A primary and two streaming standbys: the labels say what each was at the start."""

    @property
    def primary(self) -> Server:
        return self.servers[0]

    @property
    def standbys(self) -> Sequence[Server]:
        return self.servers[1:]

    def caught_up(self, primary: Server | None = None, seconds: float = 10.0) -> None:
        """Wait until the running standbys of ``primary`` (None: the one of the start) show all that it holds now."""
        primary = primary or self.primary
        [(lsn,)] = primary.sql("SELECT pg_current_wal_lsn()")
        there = "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn"
        for server in self.servers:
            if server is not primary and server.running:
                assert eventually(lambda server=server: server.sql(there, (lsn,)) == [(True,)], seconds), (
                    f"{self.label(server)} lags"
                )


def replicas(key: str) -> Replicas:
    """A new primary with two standbys that show what it holds."""
    with ExitStack() as started:
        primary = _embedded(key, "primary", started)
        primary.furnish()
        standbys = {name: _embedded(key, name, started, primary) for name in ("standby1", "standby2")}
        made = Replicas({"primary": primary, **standbys})
        made.caught_up()
        started.pop_all()
    return made


def independent(key: str) -> Several:
    """Three new servers, each with the tests' role and database, and nothing else in common."""
    with ExitStack() as started:
        made = Several({name: _embedded(key, name, started) for name in ("one", "two", "three")})
        for server in made.servers:
            server.furnish()
        started.pop_all()
    return made


def primaries(key: str) -> Several:
    """Three new primaries of one cluster, on one timeline: a server, and two copies that have been standbys of it."""
    with ExitStack() as started:
        one = _embedded(key, "one", started)
        one.furnish()
        made = Several({"one": one, **{name: _embedded(key, name, started, one) for name in ("two", "three")}})
        for copy in made.servers[1:]:
            copy.stop()
            (copy.cluster.data / "standby.signal").unlink()  # type: ignore[attr-defined]
            copy.start()
        started.pop_all()
    return made


def _embedded(key: str, name: str, started: ExitStack, primary: EmbeddedServer | None = None) -> EmbeddedServer:
    if key == "docker":
        pytest.skip("the servers of a test that needs several are embedded ones: Docker's image runs one by itself")
    settings = {"cluster_name": name} if primary else {**SETTINGS, "cluster_name": name}
    cluster = Cluster(at_hand()[key], primary=primary.cluster if primary else None, settings=settings)
    server = EmbeddedServer(cluster)
    started.callback(server.close)
    return server


def state(pool: Any, label: str, key: str = "state") -> Any:
    """What ``stats()`` says of an endpoint."""
    return pool.stats()["endpoints"][label][key]


def is_known(pool: Any) -> bool:
    """Whether all endpoints are reached, their roles known, and how far the standbys lag."""
    return all(map(_is_known, pool.stats()["endpoints"].values()))


def _is_known(endpoint: Mapping[str, Any]) -> bool:
    if endpoint["state"] != "up":
        return endpoint["state"] in ("foreign", "fenced") and endpoint["role"] != "unknown"
    return endpoint["role"] == "primary" or (endpoint["role"] == "standby" and endpoint["lag_seconds"] is not None)


def who(pool: Any, **options: Any) -> str:
    """The server that answers ``query(…)``."""
    return str(pool.query(WHO, **options).scalar())


def answering(pool: Any, times: int = 12, **options: Any) -> set[str]:
    """The servers that answer so many times."""
    return {who(pool, **options) for _ in range(times)}


def writer(pool: Any, **options: Any) -> str:
    """The server that answers what may write."""
    [label] = writers(pool, 1, **options)
    return label


def writers(pool: Any, times: int = 12, **options: Any) -> set[str]:
    """The servers that answer what may write; asked in another thread, so that this one's reads need not see it."""
    told = thread_of(lambda: answering(pool, times, read_only=False, **options)).result(30.0)
    if told.error is not None:
        raise told.error
    return set(told.value)
