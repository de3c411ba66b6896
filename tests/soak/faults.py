"""What strikes: one fault after the other, each over when its function returns, which says in few words what it did."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from pgdbpool.demo.cluster import Cluster
from pgdbpool.demo.processes import gone
from tests.faults.client.ledger import KINDS
from tests.faults.contestant import Contestant
from tests.faults.proxy import Proxy
from tests.faults.replicas import Replicas
from tests.faults.scene import ROLE, Scene

__all__ = ["NETWORK", "PROGRAM", "ROLES", "SERVER", "Fault", "Stage"]

_WEB = f"SELECT pid FROM pg_stat_activity WHERE usename = '{ROLE}'"


class Stage:
    """The servers with synchronous standbys, the network before each, and the program. All chance is in ``dice``.

    The server that is struck is the present primary, where it does not say otherwise.
    """

    def __init__(self, scene: Scene, connections: int) -> None:
        self.scene, self.connections = scene, connections
        self.replicas = Replicas(scene, synchronous=True)
        self.proxies = [scene.entered(Proxy(host, server.port)) for server, host in scene.hosts.items()]
        self.stopped: list[tuple[float, float]] = []  # when the program itself stood still
        self._forks = 0
        self.program: Contestant

    @property
    def dice(self) -> random.Random:
        return self.scene.dice

    @property
    def place(self) -> dict[str, str]:
        """How the servers are reached through the proxies."""
        return {
            "host": ",".join(["127.0.0.1"] * len(self.proxies)),
            "port": ",".join(str(each.port) for each in self.proxies),
        }

    def proxy(self) -> Proxy:
        return self.dice.choice(self.proxies)

    def standby(self) -> Cluster:
        return self.dice.choice(self.replicas.standbys)

    def tell(self, order: str) -> Any:
        """An order to the program, and its answer."""
        self.program.order(order)
        return self.program.told("did", 60)["found"]

    def sessions(self) -> list[int]:
        """All backends of the program, its monitor's among them."""
        return [pid for (pid,) in self.scene.sql(f"{_WEB} ORDER BY backend_start, pid")]

    def end_some(self) -> int:
        """Terminate at least one session; how many."""
        there = self.sessions()
        some = self.dice.sample(there, self.dice.randint(1, len(there))) if there else []
        self.scene.terminate(some)
        return len(some)

    def last(self, least: float, most: float) -> float:
        """Let it last for a while; seconds."""
        seconds = self.dice.uniform(least, most)
        time.sleep(seconds)
        return seconds

    def another_fork(self) -> None:
        self._forks += 1
        self.tell(f"fork {self._forks}")


# -- the server


def restarted(stage: Stage) -> str:
    mode = stage.dice.choice(("fast", "immediate"))
    stage.scene.server.restart(mode)
    return mode


def backend_killed(stage: Stage) -> str:
    there = stage.sessions()
    if there:
        os.kill(stage.dice.choice(there), signal.SIGKILL)
        gone(there, 5.0)  # the postmaster ends the others when it has heard of it
    stage.scene.accepts()
    return "kill -9"


def sessions_terminated(stage: Stage) -> str:
    return f"{stage.end_some()} sessions"


def server_frozen(stage: Stage) -> str:
    stage.scene.server.freeze()
    try:
        return f"{stage.last(0.5, 4.0):.1f} s"
    finally:
        stage.scene.server.thaw()


def postmaster_frozen(stage: Stage) -> str:
    stage.end_some()
    return _frozen(stage, stage.scene.server.pid)


def backend_frozen(stage: Stage) -> str:
    there = stage.sessions()
    return _frozen(stage, stage.dice.choice(there)) if there else "none is there"


def _frozen(stage: Stage, pid: int) -> str:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        return f"{stage.last(0.5, 3.0):.1f} s"
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def few_admitted(stage: Stage) -> str:
    """The role may have fewer sessions than the program wants."""
    limit = stage.dice.randint(1, stage.connections)
    stage.scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT {limit}")
    try:
        return f"{limit} for {stage.end_some()} ended, {stage.last(0.5, 1.5):.1f} s"
    finally:
        stage.scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


def password_changed(stage: Stage) -> str:
    """Another password, and back: as the hash that was stored, so that nobody needs to know it."""
    [(old,)] = stage.scene.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (ROLE,))
    stage.scene.sql(f"ALTER ROLE {ROLE} PASSWORD 'another one'")
    try:
        return f"{stage.end_some()} ended, {stage.last(0.3, 1.5):.1f} s"
    finally:
        stage.scene.sql(f"ALTER ROLE {ROLE} PASSWORD %s", (old,))


# -- the network


def connections_ended(stage: Stage) -> str:
    how = stage.dice.choice(("rst", "fin", "half"))
    stage.proxy().end_all(how)  # type: ignore[arg-type]
    return how


def blackhole(stage: Stage) -> str:
    proxy = stage.proxy()
    proxy.blackhole()
    return _healed_after(stage, proxy, 0.5, 3.0)


def refused(stage: Stage) -> str:
    proxy = stage.proxy()
    proxy.refuse()
    proxy.end_all("rst")
    return _healed_after(stage, proxy, 0.3, 3.0)


def slow(stage: Stage) -> str:
    proxy = stage.proxy()
    proxy.delay(stage.dice.uniform(0.01, 0.2))
    return _healed_after(stage, proxy, 0.5, 2.0)


def truncated(stage: Stage) -> str:
    how, times = stage.dice.choice(("rst", "fin", "hang")), stage.dice.randint(1, 4)
    proxy = stage.proxy()
    proxy.cut(stage.dice.randint(1, 400), how, times)  # type: ignore[arg-type]
    return f"{times} by {how}, {_healed_after(stage, proxy, 0.5, 1.5, hanging=how == 'hang')}"


def answer_lost(stage: Stage) -> str:
    """Or the question: of a COMMIT, an INSERT, anything."""
    text, times = stage.dice.choice(("COMMIT", "INSERT", "balance")), stage.dice.randint(1, 4)
    when, how = stage.dice.choice(("before", "after")), stage.dice.choice(("rst", "fin", "hang"))
    proxy = stage.proxy()
    proxy.on(text, when, how, times)  # type: ignore[arg-type]
    return f"{times} {text} {when} by {how}, {_healed_after(stage, proxy, 0.5, 1.0, hanging=how == 'hang')}"


def _healed_after(stage: Stage, proxy: Proxy, least: float, most: float, *, hanging: bool = False) -> str:
    """``hanging``: with connections that hang for ever, and take their server's sessions with them, until all are ended."""
    try:
        return f"{stage.last(least, most):.1f} s"
    finally:
        proxy.heal()
        if hanging:
            proxy.end_all("rst")


# -- the roles


def primary_lost(stage: Stage) -> str:
    """And promoted is who has most; then the old one is back as a standby, from a copy of the new one's data."""
    old = stage.scene.server
    stage.replicas.settled()
    old.kill9()
    return f"kill -9, {_succeeded_after(stage, old, 0.0, 1.0)}"


def switched_over(stage: Stage) -> str:
    old = stage.scene.server
    stage.replicas.settled()
    old.stop("fast")
    return _succeeded_after(stage, old, 0.0, 0.5)


def _succeeded_after(stage: Stage, old: Cluster, least: float, most: float) -> str:
    seconds = stage.last(least, most)
    stage.replicas.promote(stage.replicas.foremost())
    stage.replicas.follow(old)
    stage.replicas.settled()
    return f"promoted after {seconds:.1f} s"


def _for_a_while(
    stage: Stage, begin: Callable[[], object], end: Callable[[], object], least: float, most: float
) -> str:
    begin()
    try:
        return f"{stage.last(least, most):.1f} s"
    finally:
        end()


def standby_killed(stage: Stage) -> str:
    standby = stage.standby()
    return _for_a_while(stage, standby.kill9, standby.start, 0.1, 1.5)


def standby_frozen(stage: Stage) -> str:
    standby = stage.standby()
    return _for_a_while(stage, standby.freeze, standby.thaw, 0.5, 4.0)


def replay_paused(stage: Stage) -> str:
    standby = stage.standby()
    pause, resume = (partial(standby.sql, f"SELECT pg_wal_replay_{what}()") for what in ("pause", "resume"))
    return _for_a_while(stage, pause, resume, 0.5, 3.0)


# -- the program


def resized(stage: Stage) -> str:
    count = stage.dice.randint(2, 12)
    stage.tell(f"resize {count}")
    stage.last(0.2, 1.0)
    stage.tell(f"resize {stage.connections}")
    return f"to {count} and back"


def drained(stage: Stage) -> str:
    number = stage.dice.randrange(len(stage.proxies))
    stage.tell(f"drain {number}")
    seconds = stage.last(0.0, 0.5)
    stage.tell(f"resume {number}")
    return f"server {number}, {seconds:.1f} s"


def made_again(stage: Stage) -> str:
    stage.tell("init")
    return "init"


def program_stopped(stage: Stage) -> str:
    began = time.monotonic()
    stage.program.signal(signal.SIGSTOP)
    try:
        return f"{stage.last(1.0, 1.5):.1f} s"
    finally:
        stage.program.signal(signal.SIGCONT)
        stage.stopped.append((began, time.monotonic()))


def forked(stage: Stage) -> str:
    stage.another_fork()
    return f"a child asks {len(KINDS)} times"


Fault = Callable[[Stage], str]
SERVER: list[Fault] = [
    restarted,
    backend_killed,
    sessions_terminated,
    server_frozen,
    postmaster_frozen,
    backend_frozen,
    few_admitted,
    password_changed,
]
NETWORK: list[Fault] = [
    connections_ended,
    blackhole,
    refused,
    slow,
    truncated,
    answer_lost,
]
ROLES: list[Fault] = [
    primary_lost,
    switched_over,
    standby_killed,
    standby_frozen,
    replay_paused,
]
PROGRAM: list[Fault] = [
    resized,
    drained,
    made_again,
    program_stopped,
    forked,
]
