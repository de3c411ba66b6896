"""The program that soaks: the load on the module's default pool, which its director also has changed, replaced and forked."""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.faults.client.holding import held_at_once
from tests.faults.client.ledger import KINDS, noted
from tests.faults.client.link import Link
from tests.faults.client.load import Asker, join
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.tick import Tick

__all__ = ["soak"]

_PATIENCE = 15.0  # seconds for a child: longer than all its limits together


class Journal:
    """Every request goes into a file as it ends: the process is to stay as small as it is."""

    def __init__(self, path: str) -> None:
        self.counts: Counter[str] = Counter()
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
        self._lock = threading.Lock()  # guards both

    def __len__(self) -> int:
        return self.counts.total()

    def append(self, entry: list[Any]) -> None:
        with self._lock:
            self.counts[entry[4]] += 1
            self._file.write(json.dumps(entry) + "\n")

    def flush(self) -> None:
        with self._lock:
            self._file.flush()


def soak(peer: Any, setting: Setting, link: Link, *, schema: str, seed: int, threads: int, journal: str) -> None:
    """Orders are the keys of ``deeds``, with an argument where one needs it, each answered by ``did``; ``finish`` ends it."""
    import pgdbpool

    peer.close()
    peer.pool = pgdbpool  # its functions, which work on the pool that init made last
    pgdbpool.init(peer.config, wait=30)
    over, tick, log = threading.Event(), Tick(), Journal(journal)
    askers = [Asker(peer, schema, f"{schema}-{number}", 0.04, seed, log) for number in range(threads)]
    workers = [threading.Thread(target=each.run, args=(over,), daemon=True) for each in askers]
    labels = list(pgdbpool.stats()["endpoints"])
    deeds: dict[str, Callable[[str], Any]] = {
        "resize": lambda count: pgdbpool.resize("web", int(count)),
        "drain": lambda number: pgdbpool.drain(labels[int(number)]),
        "resume": lambda number: pgdbpool.resume(labels[int(number)]),
        "init": lambda _: pgdbpool.init(peer.config) and None,
        "fork": lambda number: _fork(peer, schema, int(number), log),
        "figures": lambda _: {**log.counts, "gaps": tick.gaps},
        "objects": lambda _: _objects(),
        "hold": lambda _: [held_at_once(_Reading(), readers), held_at_once(peer, setting.connections)],
    }
    readers = setting.connections * (len(labels) - 1)
    for asker, worker in zip(askers, workers, strict=True):
        asker.gate.set()
        worker.start()
    link.tell("ready")
    for order in link.orders():
        name, _, argument = order.partition(" ")
        if name == "finish":
            over.set()
            for hung in join(askers, workers):
                log.append(hung)
            log.flush()
            return
        link.tell("did", found=deeds[name](argument))


class _Reading:
    """The connections to the standbys."""

    @staticmethod
    def checkout() -> Any:
        import pgdbpool

        return pgdbpool.connection(read_only=True)


def _objects() -> int:
    """How many live, besides what is only waiting to be collected."""
    gc.collect()
    return len(gc.get_objects())


def _fork(peer: Peer, schema: str, number: int, log: Journal) -> None:
    """A child that asks three times, on the pool that it finds, and says what came of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            for kind in KINDS:
                key = f"{schema}-fork-{number}-{kind}"
                found = noted(peer, kind, key, schema, random.Random(key))
                os.write(writing, (json.dumps(found) + "\n").encode())
        finally:
            os._exit(0)
    os.close(writing)
    began, told = time.monotonic(), _lines(reading)
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # a zombie, if all went well
    os.waitpid(child, 0)
    for line in told:
        log.append(json.loads(line))
    for kind in KINDS[len(told) :]:
        log.append([kind, f"{schema}-fork-{number}-{kind}", began, time.monotonic(), "hung", "in a child"])


def _lines(reading: int) -> list[str]:
    """What is written there until its end, or while there is patience."""
    limit, text = time.monotonic() + _PATIENCE, b""
    while select.select([reading], [], [], max(0.0, limit - time.monotonic()))[0]:
        if not (part := os.read(reading, 65536)):
            break
        text += part
    return text.decode().splitlines()
