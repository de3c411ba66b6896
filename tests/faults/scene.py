"""What a row works with: a server, the pools under it in processes of their own, and what became of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import Any

from psycopg2 import OperationalError

from pgdbpool.demo.cluster import Cluster, ClusterError
from tests.dialect.versions import folder_of_old
from tests.faults import measured
from tests.faults.client.ledger import ACCOUNTS, SHARES
from tests.faults.contestant import Contestant
from tests.faults.measured import Book, Case, Limits, Measured, Request, Window
from tests.faults.namespace import Namespace

__all__ = ["BUSY", "DATABASE", "PASSWORD", "ROLE", "Load", "Scene"]

ROLE, PASSWORD, DATABASE = "web", "a secret of the tests", "shop"
BUSY = "slow 0.03"  # an order: reads that long have 16 threads keep 8 connections busy
_FEW = 3  # pools
_SETTINGS = {"fsync": "off"}


class Scene:
    """One run of one row. ``seed`` decides all that is left to chance; ``short`` asks for the short form.

    ``results`` has what became of each peer. The server is made when it is first asked for; ``settings`` (its own) and
    ``net`` (the namespace in which it is to be born) are to be set before. ``hosts``: the addresses of all servers that the
    pools are told of, in that order; ``server`` is the present primary. ``ease``: by which factor a peer's limits are eased.
    """

    def __init__(
        self,
        peers: Sequence[str],
        seed: int,
        *,
        short: bool,
        limits: Limits,
        ease: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.peers, self.seed, self.short, self.limits, self.ease = peers, seed, short, limits, ease
        self.dice = random.Random(seed)
        self.results: dict[str, Measured] = {}
        self.settings: dict[str, str] = {}
        self.hosts: dict[Cluster, str] = {}
        self.net: Namespace | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *details: Any) -> None:
        self._stack.close()

    @cached_property
    def server(self) -> Cluster:
        """A server of this run alone."""
        net, place = self.net, {"listen_addresses": self.host}
        rules = "host all all samenet scram-sha-256\n" if net else None
        room = {"max_connections": str(40 * (1 + len(self.peers)))}
        server = Cluster(settings={**_SETTINGS, **room, **place, **self.settings}, hba=rules)
        self._stack.callback(server.close)
        net.run(server.start) if net else server.start()
        self.furnish(server)
        self.hosts[server] = self.host
        return server

    @property
    def host(self) -> str:
        """The server's address."""
        return self.net.address if self.net else "127.0.0.1"

    @property
    def running(self) -> list[Cluster]:
        """The servers that run, the primary among them."""
        return [each for each in self.hosts if _runs(each)]

    def entered(self, context: Any) -> Any:
        """Enter a context that is left when the run is over."""
        return self._stack.enter_context(context)

    def furnish(self, server: Cluster) -> None:
        """The role, its database, and each peer's ledger."""
        server.create_role(ROLE, PASSWORD)
        server.create_database(DATABASE, ROLE)
        text = "".join(
            f"CREATE SCHEMA {schema} AUTHORIZATION {ROLE}; CREATE TABLE {schema}.entry (key text);"
            f"CREATE INDEX ON {schema}.entry (key); CREATE TABLE {schema}.account (id int PRIMARY KEY, balance int);"
            f"INSERT INTO {schema}.account SELECT n, 0 FROM generate_series(0, {ACCOUNTS - 1}) AS n;"
            f"ALTER TABLE {schema}.entry OWNER TO {ROLE}; ALTER TABLE {schema}.account OWNER TO {ROLE};"
            for schema in map(self.schema, self.peers)
        )
        server.sql(text, dbname=DATABASE)

    def sql(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        """One statement in the peers' database as the superuser, by the socket: no fault cuts that off."""
        return self.server.sql(text, params, DATABASE)

    def book(self, peer: str) -> Book:
        """What the server holds of this peer's ledger."""
        keys = self.sql(f"SELECT key, count(*) FROM {self.schema(peer)}.entry GROUP BY key")
        [(total,)] = self.sql(f"SELECT sum(balance) FROM {self.schema(peer)}.account")
        return Book(dict(keys), total)

    def accepts(self, seconds: float = 10.0) -> None:
        """Return when the server takes connections again."""
        limit = time.monotonic() + seconds
        while True:
            try:
                return self.server.admin(connect_timeout=2).close()
            except OperationalError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.002)

    def schema(self, peer: str) -> str:
        return f"ledger{self.peers.index(peer)}"

    def name(self, peer: str) -> str:
        """Its sessions' ``application_name``."""
        return f"faults:{self.peers.index(peer)}"

    def sessions(self, peer: str | None = None) -> list[int]:
        """The backends of one peer, or of all."""
        name = self.name(peer) if peer else "faults:%"
        text = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s ORDER BY backend_start, pid"
        return [pid for (pid,) in self.sql(text, (name,))]

    def grown(self, peer: str, count: int, seconds: float = 10.0) -> float:
        """Wait until this peer has so many sessions; how many seconds that took."""
        began = time.monotonic()
        while (found := len(self.sessions(peer))) < count:
            if time.monotonic() > began + seconds:
                raise TimeoutError(f"{peer} has {found} sessions and not {count} after {seconds:g} s")
            time.sleep(0.01)
        return time.monotonic() - began

    def terminate(self, pids: Sequence[int]) -> None:
        """End these backends, all at once, and return when none of them is left: until then they take requests."""
        for call in ("pg_terminate_backend(pid)", "pg_terminate_backend(pid, 5000)"):
            self.sql(f"SELECT {call} FROM unnest(%s::int[]) AS pid", (list(pids),))

    def sleep(self, seconds: float, short: float | None = None) -> None:
        time.sleep(short if self.short and short is not None else seconds)

    # -- the pools

    def place(self, peer: str, **other: Any) -> dict[str, Any]:
        assert self.server  # there is one from now on
        hosts, ports = ",".join(self.hosts.values()), ",".join(str(each.port) for each in self.hosts)
        place = {"host": hosts, "port": ports, "dbname": DATABASE, "user": ROLE, "password": PASSWORD}
        place |= {"target_session_attrs": "read-write"} if len(self.hosts) > 1 else {}
        return {**place, "application_name": self.name(peer), "sslmode": "disable", **other}

    def contestant(self, peer: str, script: str, args: Mapping[str, Any], **setting: Any) -> Contestant:
        """Start it; ``setting`` is more of ``peers.Setting``, ``place`` in it more of the place."""
        environment, under = setting.pop("environment", {}), setting.pop("under", ())
        old = str(folder_of_old()) if peer == "pgdbpool 1.0.2" else ""
        place = self.place(peer, **setting.pop("place", {}))
        job = {"peer": peer, "script": script, "args": dict(args), "setting": {"place": place, "old": old, **setting}}
        return self._stack.enter_context(_closing(Contestant(job, environment, under)))

    @contextmanager
    def load(
        self,
        *,
        pace: float = 0.04,
        threads: int = 16,
        first: int | None = None,
        limits: Limits | None = None,
        shares: Mapping[str, int] = SHARES,
        **setting: Any,
    ) -> Iterator[Load]:
        """All pools under the load, from before the block until after it; then they are judged.

        ``first``: so many of the threads ask from the beginning, the others from the order ``resume`` on. ``shares``: how many
        of a hundred requests are of each kind. Many pools at once ask at half the pace: two cores would have no time left,
        and show the machine's pauses for theirs.
        """
        pace *= 2 if len(self.peers) > _FEW else 1
        connections = setting.get("connections", 8)
        load = Load(self, connections, connections - setting.get("minimum", connections))
        for peer in self.peers:
            args = {"schema": self.schema(peer), "seed": self.seed, "pace": pace, "threads": threads}
            args |= {"first": threads if first is None else first, "shares": dict(shares)}
            load.contestants[peer] = self.contestant(peer, "load:load", args, **setting)
        for each in load.contestants.values():
            each.told("ready", 60)
        self.sleep(1.5, 0.8)
        load.order("count")
        yield load
        self.sleep(3.0, 1.5)
        load.order("finish")
        for peer, contestant in load.contestants.items():
            self.results[peer] = load.judged(peer, contestant.told("done", 60)["result"], limits or self.limits)

    def strike(
        self,
        begin: Callable[[], object],
        end: Callable[[], object],
        *,
        lasts: float = 0.0,
        short: float | None = None,
        **setting: Any,
    ) -> None:
        """The load, under which a fault has struck when ``begin`` returns, lasts so many seconds, and is over with ``end``."""
        with self.load(**setting) as load, load.fault() as struck:
            begin()
            struck()
            self.sleep(lasts, short)
            end()

    def play(
        self,
        script: str,
        *,
        seconds: float = 60,
        meanwhile: Callable[[Mapping[str, Contestant]], None] = lambda running: None,
        **args: Any,
    ) -> dict[str, list[Case]]:
        """Every pool under the same script, all at once; ``setting`` in ``args`` is more of ``peers.Setting``.

        ``meanwhile`` is called when they run, and may wait for their news, give them orders and strike.
        The scripts return lists of ``Case``. Among their arguments, ``admin`` is how to be the superuser, ``ease`` by which
        factor the script's own limits of time are eased.
        """
        setting = args.pop("setting", {})
        admin = {"host": str(self.server.socket_dir), "port": self.server.port, "user": "postgres", "dbname": DATABASE}
        words = {"admin": admin, "seed": self.seed, "short": self.short, **args}
        own = {peer: {"schema": self.schema(peer), "ease": self.ease.get(peer, 1.0)} for peer in self.peers}
        running = {peer: self.contestant(peer, script, {**words, **own[peer]}, **setting) for peer in self.peers}
        meanwhile(running)
        found = {peer: [Case(*each) for each in one.told("done", seconds)["result"]] for peer, one in running.items()}
        self.results.update({peer: measured.of_cases(cases) for peer, cases in found.items()})
        tried = {peer: {case.name for case in cases} for peer, cases in found.items()}
        left_out = set().union(*tried.values()) - tried[self.peers[0]]
        self.results[self.peers[0]].problems += [f"{name}: not tried" for name in sorted(left_out)]
        return found


class Load:
    """The pools while they work."""

    def __init__(self, scene: Scene, connections: int, growth: int) -> None:
        self.contestants: dict[str, Contestant] = {}
        self.windows: list[Window] = []
        self.requests: dict[str, list[Request]] = {}  # of each pool, once it is judged
        self.connections = connections
        self.stopped: list[int] = []  # backends that stand still, so that nobody can end them
        self._scene, self._growth = scene, growth

    def order(self, line: str) -> None:
        for each in self.contestants.values():
            each.order(line)

    @contextmanager
    def fault(self) -> Iterator[Callable[[], None]]:
        """The fault begins to strike after a moment that the seed decides, and is over at the end of the block.

        The block calls what it is given when the fault has struck; without that it strikes until it is over.
        """
        time.sleep(self._scene.dice.random() * 0.2)
        began, struck = time.monotonic(), list[float]()
        yield lambda: struck.append(time.monotonic())
        ended = time.monotonic()
        self.windows.append(Window(began, (struck or [ended])[0], ended))

    def judged(self, peer: str, found: Mapping[str, Any], limits: Limits) -> Measured:
        scene = self._scene
        self.requests[peer] = [Request(*each) for each in found["requests"]]
        return measured.of_load(
            self.requests[peer],
            self.windows,
            limits.eased(scene.ease.get(peer, 1.0)),
            gaps=[tuple(each) for each in found["gaps"]],
            capacity=found["capacity"],
            connections=self.connections,
            book=scene.book(peer),
            left=self._left(peer, tuple(found["descriptors"])),
            attempts=found["attempts"],
        )

    def _left(self, peer: str, descriptors: tuple[int, int]) -> measured.Left:
        """Of sessions those at the server that has most of them."""
        found = [self._left_at(server, peer) for server in self._scene.running]
        sessions, idle, locks = zip(*found, strict=True)
        before, after = descriptors
        before += 2 * self._growth  # ours duplicates its sockets
        return measured.Left(max(sessions), sum(idle), sum(locks), (before, after))

    def _left_at(self, server: Cluster, peer: str) -> tuple[int, int, int]:
        of = "FROM pg_stat_activity WHERE application_name = %(name)s AND pid <> ALL (%(stopped)s)"
        locks = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid IN (SELECT pid {of})"
        text = f"SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%%'), ({locks}) {of}"
        [found] = server.sql(text, {"name": self._scene.name(peer), "stopped": self.stopped}, DATABASE)
        return found  # type: ignore[return-value]


def _runs(server: Cluster) -> bool:
    try:
        return server.pid > 0
    except ClusterError:
        return False


@contextmanager
def _closing(contestant: Contestant) -> Iterator[Contestant]:
    try:
        yield contestant
    finally:
        contestant.close()
