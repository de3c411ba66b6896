"""A query whose server stands still, and what its users do about it: where the pool does nothing, they cancel it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting, rows
from tests.faults.client.tick import Tick
from tests.faults.client.trying import driver_of

__all__ = ["freed"]

_HANGS = 0.7  # seconds


def freed(peer: Peer, setting: Setting, link: Link, *, ease: float, **_: Any) -> list[Any]:
    """The one who asks is free at its limit, and no other thread stands still meanwhile."""
    asker, tick, over = _Asker(peer), Tick(), threading.Event()
    threads = [threading.Thread(target=asker.run, args=(over,), daemon=True)]
    if type(peer).__name__ != "Ours":
        threads.append(threading.Thread(target=asker.watch, args=(setting.query, over), daemon=True))
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    link.tell("asking")
    link.wait_for("over")
    over.set()
    for thread in threads:
        thread.join(5.0)
    longest = max((each for _, each in tick.gaps), default=0.0)
    return [
        ["freed at its limit", 0 < asker.hung < setting.query + 0.3 * ease, f"after {asker.hung:.2f} s"],
        ["others go on", longest <= 0.1 * ease, f"every thread stood still for {longest:.2f} s"],
    ]


class _Asker:
    """A thread that asks again and again, until one of its questions hangs: ``hung`` is how long."""

    def __init__(self, peer: Peer) -> None:
        self.hung = 0.0
        self._peer = peer
        self._under_way: tuple[Any, float] | None = None

    def run(self, over: threading.Event) -> None:
        while not over.is_set() and not self.hung:
            began = time.monotonic()
            with suppress(Exception), self._peer.checkout() as connection:
                self._under_way = connection, began
                rows(connection, "SELECT pg_sleep(0.02)")
            self._under_way = None
            if (seconds := time.monotonic() - began) > _HANGS:
                self.hung = seconds

    def watch(self, patience: float, over: threading.Event) -> None:
        """Cancel what takes longer."""
        while not over.is_set():
            time.sleep(0.02)
            if (under_way := self._under_way) and time.monotonic() - under_way[1] > patience:
                driver_of(under_way[0]).cancel()
                over.wait(patience)
