"""How many connections a pool can really hand out."""

from __future__ import annotations

import threading
import time

from tests.faults.client.peers import Peer, rows

__all__ = ["held_at_once"]


def held_at_once(peer: Peer, count: int, seconds: float = 3.0) -> int:
    """Have ``count`` threads hold a connection each until all do, or until the time is over: different backends seen."""
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

    for _ in range(count):
        threading.Thread(target=hold, daemon=True).start()
    enough.wait(seconds)
    return len(pids)
