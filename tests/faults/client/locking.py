"""A transaction that has locked a row when the network falls silent, and others who want that row afterwards."""

from __future__ import annotations

import threading
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, in_thread, said, tried

__all__ = ["locking"]

_FREE = 1.5  # seconds in which the row has to be free, of which one attempt may cost most
_PATIENCE = 8.0


def locking(peer: Peer, setting: Setting, link: Link, *, schema: str, ease: float, **_: Any) -> list[list[Any]]:
    """It tells ``locked``, and expects the orders ``silent`` and ``over``."""
    update, silent = f"UPDATE {schema}.account SET balance = 0 WHERE id = 1", threading.Event()

    def transaction() -> None:
        with peer.transaction() as run:
            run(update)
            link.tell("locked")
            silent.wait(30)
            run("SELECT 1")

    running = in_thread(transaction)
    link.wait_for("silent")
    silent.set()
    link.wait_for("over")
    cut_off, wanting = running.outcome(0.0), in_thread(_insist, peer, update).outcome(_PATIENCE)
    took = f" after {wanting.seconds:.1f} s" if wanting.seconds else ""
    return [
        ["the transaction", cut_off is not HUNG, said(cut_off.error)],
        [
            "its row afterwards",
            wanting is not HUNG and wanting.seconds <= _FREE * ease,
            f"{said(wanting.error, 'free')}{took}",
        ],
    ]


def _insist(peer: Peer, text: str) -> None:
    """Until it succeeds."""
    while tried(peer.query, text).error is not None:
        pass
