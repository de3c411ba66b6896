"""What this process tells of itself, and what it hears of the host's other workers."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from time import monotonic, time
from typing import Any

from pgdbpool.config import PoolOptions
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.worker import Worker
from pgdbpool.report.figures import figures, stories, unserved
from pgdbpool.report.history import History
from pgdbpool.report.limits import Limits
from pgdbpool.report.summing import merge, past, present_endpoints, present_groups
from pgdbpool.workers import FORMAT, Exchange

_PATIENCE = 0.5  # seconds that showing the figures waits for the disk
_PERIOD = 1.0  # seconds
_WATCHED = 5.0  # seconds after a look at the figures in which the servers are asked who blocks whom


class Reporter:
    """One pool's figures. Its thread puts them where the other workers find them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._exchange = Exchange(engine.options.stats_dir, _key(engine.options), self.own, past)
        self.worker = Worker("pgdbpool-figures", self.tick)
        self._begin()

    def _begin(self) -> None:
        self._worker: dict[str, Any] = {"id": uuid.uuid4().hex[:12], "pid": os.getpid(), "started": time()}
        self._history = History()
        self._limits = Limits(self._engine)
        self._due = False

    def after_fork_in_child(self) -> None:
        self._begin()
        self._exchange.after_fork_in_child()
        self.worker.after_fork()

    def tick(self) -> float:
        """Tell the others what is due; the seconds until the next time."""
        if self._history.is_due(time()):
            self._history.note(figures(self._engine, self._worker))
            self._limits.look(self._exchange.crowd())
        due, self._due = self._due, False
        pause = self._exchange.tick(time(), due)
        if self._exchange.is_watched:
            self._ask()
        return min(pause, _PERIOD)

    def _ask(self) -> None:
        for endpoint in self._engine.endpoints:
            endpoint.activity.wanted_until = monotonic() + _WATCHED

    def _write(self) -> None:
        """Before they are shown: whoever is asked next must not know less of this worker. The file has one writer."""
        self._due = True
        if self._is_alone_in_its_thread:
            self.tick()
        else:
            self.worker.run_once(_PATIENCE)

    @property
    def _is_alone_in_its_thread(self) -> bool:
        return self._engine.options.type == "non-threaded"

    def own(self) -> dict[str, Any]:
        """This process's figures."""
        told = {"history": self._history.told(), "advice": self._limits.lines}
        return {**figures(self._engine, self._worker), **stories(self._engine, self._worker["pid"]), **told}

    def host(self, live: bool = True) -> dict[str, Any]:
        """Those of all workers of the host, as of one. Somebody looks at them, or else they may be old, without history."""
        self._engine.awake()
        if live:
            self._ask()
            self._exchange.watched()
        if live or self._is_alone_in_its_thread:
            self._write()
        told = self._exchange.everyone()
        known = any(worker["id"] == self._worker["id"] for each in told for worker in each["workers"])
        merged = merge(told if known else [self.own(), *told], history=live)
        return {**merged, "closed": self._engine.closed, "alone": self._exchange.alone}

    def stats(self) -> dict[str, Any]:
        """``stats()``: this process's, for people."""
        own = figures(self._engine, self._worker)
        groups = present_groups(own["groups"])
        endpoints = present_endpoints(own["endpoints"], groups)
        return {"pid": os.getpid(), "closed": own["closed"], "groups": groups, "endpoints": endpoints}

    def unserved(self) -> dict[str, str | None]:
        """Why a group cannot be served now, None where it can, as far as is known."""
        self._engine.awake()
        return {name: unserved(self._engine, group) for name, group in self._engine.groups.items()}

    def close(self) -> None:
        self.worker.stop()
        self._exchange.close()


def _key(options: PoolOptions) -> str:
    """What the workers of one service share, whatever else a newer one of them was configured with."""
    servers = [(each.label, each.name, each.user) for each in options.endpoints]
    return hashlib.sha256(json.dumps([FORMAT, servers, [*options.groups]]).encode()).hexdigest()[:16]
