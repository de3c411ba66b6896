"""A pool on a real server and a model of it; what both must agree in after each step, and at the end."""

from __future__ import annotations

import itertools
import json
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

import pgdbpool
from pgdbpool import DBOfflineError, NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from tests.fuzz.actors import LIMIT, Actor
from tests.fuzz.holdings import TABLE, Holding, expect, furnish, unsoiled
from tests.fuzz.inspection import Observer, breaches, soon
from tests.life import warm
from tests.servers import Server

__all__ = ["GROUPS", "SERVERS", "Model", "Waiting"]

GROUPS = ["web", "jobs"]
SERVERS = ["one", "two"]
WEB = [{}, {"autocommit": True}, {"autocommit": False}, {"reset": "always"}, {"on_connect": furnish}]
JOBS = [{"autocommit": False}, {"max_waiting": 1}, {"ping_after": 0}, {"max_lifetime": 1}, {"max_idle": 0.1}]
_serial = itertools.count(1)


class Waiting(NamedTuple):
    """An actor in the line, for what is to become this holding."""

    holding: Holding
    actor: Actor


class Model(RuleBasedStateMachine):
    """Actors that borrow from two groups of one pool, at one or two addresses of one server."""

    threaded = True

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.observer = Observer(server)
        self.observer.sql(f"TRUNCATE {TABLE}")
        self.actors = [Actor(f"actor {number}") for number in range(3 if self.threaded else 1)]
        self.numbers = itertools.count(1)
        self.committed: set[int] = set()
        self.held: list[Holding] = []
        self.released: list[Holding] = []
        self.killed: set[int] = set()
        self.pools: list[Any] = []

    @initialize(
        servers=st.integers(1, 2),
        count=st.sampled_from([1, 1, 2]),
        minimum=st.integers(0, 1),
        web=st.sampled_from(WEB),
        jobs=st.sampled_from(JOBS),
        by_module=st.booleans(),
        wait=st.sampled_from([None, LIMIT]),
    )
    def begin(self, servers: int, count: int, minimum: int, web: Any, jobs: Any, by_module: bool, wait: Any) -> None:
        both = {"connection_count": count, "min_connections": minimum, "target": "any"}
        self.config = {
            "type": "threaded" if self.threaded else "non-threaded",
            "db": [self.server.endpoint(label=n, libpq={"options": f"-c fuzz.server={n}"}) for n in SERVERS[:servers]],
            "groups": {"web": {**both, **web}, "jobs": {**both, **jobs}},
        }
        self.by_module = by_module
        self.adopt_pool(self.new_pool(wait))
        self.settle()

    def new_pool(self, wait: float | None) -> Any:
        self.name = f"fuzz:{next(_serial)}"
        for name, group in self.config["groups"].items():
            group["application_name"] = f"{self.name}:{name}"
        self.pools.append(pgdbpool.init(self.config, wait=wait))
        return self.pools[-1]

    def adopt_pool(self, pool: Any) -> None:
        """From now on it is the one that the model is about."""
        self.pool = pool
        self.api = pgdbpool if self.by_module else pool
        self.closed = self.fading = False
        self.count = dict.fromkeys(GROUPS, self.config["groups"]["web"]["connection_count"])
        self.is_open = {each["label"]: True for each in self.config["db"]}
        self.lines: dict[str, list[Waiting]] = {name: [] for name in GROUPS}
        self.checkouts = dict.fromkeys(GROUPS, 0)
        self.timeouts = dict.fromkeys(GROUPS, 0)
        self.errors = dict.fromkeys(GROUPS, 0)

    # -- what must come of a checkout ---------------------------------------------------------------------------------

    def of(self, group: str) -> list[Holding]:
        return [each for each in self.held if each.group == group]

    def at_hand(self) -> list[Holding]:
        """What is held by somebody who does not wait for anything else."""
        return [each for each in self.held if not each.user.busy and not each.owner.busy]

    def lent(self, group: str) -> dict[str, int]:
        servers = [each.server for each in self.of(group)]
        return {server: servers.count(server) for server in self.is_open}

    def free(self, group: str) -> int:
        """How many connections can be handed out now."""
        lent = self.lent(group)
        return sum(max(0, self.count[group] - lent[server]) for server, is_open in self.is_open.items() if is_open)

    def refusal(self, actor: Actor, group: str) -> type[PoolError] | None:
        """What it must raise now; None where it must succeed."""
        most = self.config["groups"][group].get("max_waiting", 0)
        if self.closed:
            return PoolClosed
        if self.free(group):
            return None
        if 0 < most <= len(self.lines[group]):
            return TooManyRequests
        if not any(self.is_open.values()):
            return DBOfflineError
        if all(each.owner is actor for each in self.of(group) if self.is_open[each.server]):
            return NestedCheckout
        return PoolTimeout

    def base(self, group: str) -> str:
        """What every session of it has by ``on_connect``."""
        return "furnished" if "on_connect" in self.config["groups"][group] else ""

    def cut(self) -> None:
        """The pool was closed."""
        self.closed = True
        for held in self.held:
            held.gone = True
            self.killed.add(held.pid)

    def note(self, group: str, refusal: type[PoolError] | None) -> None:
        which = self.checkouts if refusal is None else self.timeouts if refusal is PoolTimeout else self.errors
        which[group] += 1

    def lend(self, holding: Holding, row: Any) -> None:
        """It was handed out: nobody else has it, and nothing is left in it."""
        holding.pid, holding.server = unsoiled(row, self.base(holding.group))
        assert holding.pid not in {each.pid for each in self.held}, f"{holding} is in two hands"
        assert holding.pid not in self.killed, f"{holding} was dead"
        holding.is_as_new()
        holding.open = holding.transactional
        self.held.append(holding)

    # -- what must hold after each step -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Who waits for what is there now gets it, in order; then the pool comes to rest, and is as the model says."""
        for group in GROUPS:
            line = self.lines[group]
            while line and (self.closed or self.free(group) or not any(self.is_open.values())):
                holding, actor = line.pop(0)
                refusal = PoolClosed if self.closed else None if self.free(group) else DBOfflineError
                found = actor.result()
                self.note(group, refusal)
                expect(found, *([refusal] if refusal else []))
                if refusal is None:
                    self.lend(holding, found.value)
        found: list[str] = []

        def rests() -> bool:
            found[:] = self._unrest()
            return not found

        assert soon(rests), found

    def _unrest(self) -> list[str]:
        """What is not as it must be, or not yet."""
        figures = self.pool.stats()
        json.dumps(figures)
        if self.fading:  # it closes as soon as nobody needs it any more
            return []
        found = [] if figures["closed"] == self.closed else ["closed?"]
        for name, group in self.pool._engine.groups.items():
            found += [f"{name}: {each}" for each in breaches(group, self.lent(name))]
            found += [f"{name}: {each}" for each in self._strange(name, figures["groups"][name])]
            if self.threaded and any(group.wants(shelf) for shelf in group.shelves):
                found.append(f"{name}: a connection is missing")
        for label, figure in figures["endpoints"].items():
            states = ["up", "unknown"] if len(self.is_open) == 1 or not self.threaded else ["up"]
            if not self.closed and figure["state"] not in (states if self.is_open[label] else ["drained"]):
                found.append(f"{label} is {figure['state']}")
        held = sum(each["in_use"] + each["idle"] for each in figures["groups"].values())
        if held != sum(each["connections"] for each in figures["endpoints"].values()):
            found.append("the sums of groups and endpoints differ")
        return found + self._sessions()

    def _strange(self, group: str, figure: dict[str, Any]) -> list[str]:
        """Where ``stats()`` and the model differ."""
        lent, capacity = self.lent(group), self.count[group] * sum(self.is_open.values())
        expected = {
            "connection_count": capacity,
            "in_use": sum(lent.values()),
            "opening": 0,
            "waiting": len(self.lines[group]),
            "timeouts": self.timeouts[group],
            "errors": self.errors[group],
        }
        found = [f"{name} is {figure[name]}, not {value}" for name, value in expected.items() if figure[name] != value]
        if figure["idle"] > (0 if self.closed else self.free(group)):
            found.append(f"{figure['idle']} are idle")
        if (
            figure["checkouts"] < self.checkouts[group]
            or figure["hold"]["count"] != figure["checkouts"] - figure["in_use"]
        ):
            found.append(f"{figure['checkouts']} checkouts, {figure['hold']['count']} holds")
        return found

    def _sessions(self) -> list[str]:
        """Where the books and the server differ; who died unnoticed is still in the books."""
        there = self.observer.pids(f"{self.name}:%")
        groups = self.pool._engine.groups.values()
        ours = {slot.resource.backend_pid for group in groups for slot in group.members()}
        found = [f"backends {there - ours} are nobody's"] if there - ours else []
        return found + ([f"backends {lost} are not there"] if (lost := ours - there - self.killed) else [])

    # -- the end ------------------------------------------------------------------------------------------------------

    def give_all_back(self) -> None:
        """Whoever waits and holds something himself is served first, by more connections."""
        for held in self.at_hand():
            self.give_back(held, clean=True)
        self.settle()
        if any(self.lines.values()):
            for server in self.is_open:
                self.pool.resume(server)
                self.is_open[server] = True
            for group in GROUPS:
                self.pool.resize(group, 9)
                self.count[group] = 9
            self.settle()
        for held in list(self.held):
            self.give_back(held, clean=True)
        self.settle()

    def give_back(self, held: Holding, clean: bool, close: bool = False) -> None:
        self.committed |= held.left(held.user.call(held.leave, clean, close), clean)
        self.held.remove(held)
        self.released.append(held)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and hasattr(self, "pool"):
                self._finish()
        finally:
            for pool in self.pools:
                pool.close(0)
            for actor in self.actors:
                with suppress(AssertionError):  # the failure on its way is the news
                    actor.die()
            self.observer.close()

    def _finish(self) -> None:
        """Nothing is lost: each connection can be had, each row that was committed is there, and no session stays."""
        self.give_all_back()
        for group in [] if self.closed else GROUPS:
            for server in self.is_open:
                self.pool.resume(server)
                self.is_open[server] = True
            self.pool.resize(group, 2)
            self.count[group] = 2
            self.settle()
            capacity = self.free(group)
            pids = self.actors[0].call(warm, self.pool, capacity, group)
            expect(pids)
            assert len(set(pids.value)) == capacity
            self.checkouts[group] += capacity
            self.settle()
        assert {row for (row,) in self.observer.sql(f"TABLE {TABLE}")} == self.committed
        self.pool.close(1)
        assert soon(lambda: not self.observer.pids("fuzz:%") | self.observer.pids("pgdbpool:monitor"))
        assert soon(lambda: all(pool.stats()["closed"] for pool in self.pools))
