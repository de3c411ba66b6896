"""Servers whose connections are half open: this side believes in them, the other side knows them no more."""

from __future__ import annotations

from functools import partial

from tests.faults.measured import LATE
from tests.faults.namespace import Namespace, why_not
from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("22d", needs=why_not, failed=LATE, told=5.2, back=1.0, clean=1.2)
def server_unreachable_by_icmp(scene: Scene) -> None:
    """Packets are answered by ICMP for 7 s, which open connections ignore, and new ones are refused: nobody hangs."""
    net = scene.net = scene.entered(Namespace())
    scene.strike(partial(net.reject, "icmp", scene.server.port), net.heal, lasts=7, short=3.5)


@row("22e", needs=why_not, failed=LATE, told=5.2, back=1.0, clean=1.2)
def machine_lost_and_back(scene: Scene) -> None:
    """The server's machine is gone without a word and is back after 7 s, when all open connections are half open."""
    net = scene.net = scene.entered(Namespace())
    with scene.load() as load, load.fault() as struck:
        net.drop(scene.server.port)
        struck()
        scene.server.kill9()
        scene.sleep(7, 3.5)
        net.run(scene.server.start)
        net.heal()
