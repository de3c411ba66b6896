"""Processes that stand still: the kernel acknowledges, nobody answers."""

from __future__ import annotations

from tests.faults.measured import LATE
from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("6", failed=LATE, told=5.2, back=0.3, clean=0.5)
def server_frozen(scene: Scene) -> None:
    """Every process of the server stands still for 7 s: no thread waits longer than its limits."""
    with scene.load() as load, load.fault() as struck:
        scene.server.freeze()
        struck()
        scene.sleep(7, 5.5)
        scene.server.thaw()
