"""How many connections a pool can really hand out."""

from __future__ import annotations

import threading
import time

from tests.faults.client.peers import Peer, rows

__all__ = ["held_at_once", "pids_at_once"]


def held_at_once(peer: Peer, count: int, seconds: float = 3.0) -> int:
    """How many of ``count`` connections can be held at once, each of another backend."""
    return len(pids_at_once(peer, count, seconds))


def pids_at_once(peer: Peer, count: int, seconds: float = 3.0) -> set[int]:
    """Have ``count`` threads hold a connection each until all do, or until the time is over: the backends seen."""
    limit, pids, enough = time.monotonic() + seconds, set[int](), threading.Event()

    def hold() -> None:
        while not enough.is_set() and time.monotonic() < limit:
            try:
                with peer.checkout() as connection:
                    pids.update(row[0] for row in rows(connection, "SELECT pg_backend_pid()"))
                    if len(pids) >= count:
                        enough.set()
                    enough.wait(max(0.0, limit - time.monotonic()))
            except Exception:
                time.sleep(0.05)

    holders = [threading.Thread(target=hold, daemon=True) for _ in range(count)]
    for each in holders:
        each.start()
    enough.wait(seconds)
    for each in holders:  # who has one gives it back before this is over
        each.join(max(0.0, limit - time.monotonic()))
    return pids
