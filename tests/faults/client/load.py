"""The load: threads that each ask at a steady pace, as a web server's would, and note what became of every request."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.faults.client.attempts import FAILED
from tests.faults.client.holding import held_at_once
from tests.faults.client.ledger import SHARES, draw, noted
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.tick import Tick

__all__ = ["Asker", "join", "load"]

_LEFT = 8.0  # seconds that the requests under way may still take at the end; what takes longer hangs


class Asker:
    """One thread's requests: ``log`` has what ``ledger.noted`` tells of each."""

    slow = 0.0

    def __init__(
        self,
        peer: Peer,
        schema: str,
        name: str,
        pace: float,
        seed: int,
        log: Any = None,
        shares: Mapping[str, int] = SHARES,
    ) -> None:
        self.gate = threading.Event()
        self.log: Any = [] if log is None else log  # anything that has append and a length that grows
        self.under_way: list[Any] | None = None
        self._peer, self._schema, self._name, self._pace = peer, schema, name, pace
        self._dice, self._shares = random.Random(f"{seed} {name}"), shares

    def told(self, order: str) -> None:
        what, _, value = order.partition(" ")
        if what == "pause":
            self.gate.clear()
        elif what == "resume":
            self.gate.set()
        elif what == "slow":
            self.slow = float(value)

    def run(self, over: threading.Event) -> None:
        time.sleep(self._dice.random() * self._pace)
        while not over.is_set():
            self.gate.wait()
            if over.is_set():
                return
            began = time.monotonic()
            kind, key = draw(self._dice, self._shares), f"{self._name}-{len(self.log)}"
            self.under_way = [kind, key, began]
            self.log.append(noted(self._peer, kind, key, self._schema, self._dice, self.slow))
            self.under_way = None
            time.sleep(max(0.0, began + self._pace - time.monotonic()))


def load(
    peer: Peer,
    setting: Setting,
    link: Link,
    *,
    schema: str,
    seed: int,
    threads: int,
    pace: float,
    first: int,
    shares: Mapping[str, int],
) -> dict[str, Any]:
    """Until ``finish``. ``first``: so many threads ask from the beginning; ``shares``: of each kind of request.

    ``pause`` and ``resume`` stop and start the requests of all, and ``slow 0.03`` has the server take that long for each read
    from now on.
    """
    tick, over = Tick(), threading.Event()
    askers = [Asker(peer, schema, f"{schema}-{number}", pace, seed, shares=shares) for number in range(threads)]
    workers = [threading.Thread(target=each.run, args=(over,), daemon=True) for each in askers]
    for worker in workers:
        worker.start()
    for asker in askers[:first]:
        asker.gate.set()
    before = _descriptors()
    link.tell("ready")
    for order in link.orders():
        if order == "count":
            before = _descriptors()
        elif order == "finish":
            break
        else:
            for asker in askers:
                asker.told(order)
    over.set()
    for asker in askers:
        asker.gate.set()
    hung = join(askers, workers)
    return {
        "requests": [each for asker in askers for each in asker.log] + hung,
        "gaps": tick.gaps,
        "capacity": held_at_once(peer, setting.connections),
        "descriptors": [before, _descriptors()],
        "attempts": FAILED,
    }


def join(askers: list[Asker], workers: list[threading.Thread]) -> list[list[Any]]:
    """Wait for the last requests; those that hang."""
    limit = time.monotonic() + _LEFT
    for worker in workers:
        worker.join(max(0.0, limit - time.monotonic()))
    left = [asker.under_way for asker, worker in zip(askers, workers, strict=True) if worker.is_alive()]
    return [[*each, time.monotonic(), "hung", ""] for each in left if each]


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))
