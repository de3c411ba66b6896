"""A host name that leads elsewhere."""

from __future__ import annotations

import time

import psutil

from tests.faults.names import Names, why_not
from tests.faults.rows.row import row
from tests.faults.scene import Load, Scene

_NAME, _OLD, _NEW = "database.of-the-faults", "127.0.0.1", "127.0.0.2"
_WITHIN = 5.0  # seconds


@row("31", needs=why_not, told=1.7, back=0.1, clean=0.1)
def address_changes(scene: Scene) -> None:
    """The server's name leads to another address, and the old one goes on answering: within 5 s nobody is there any more."""
    scene.settings["listen_addresses"] = f"{_OLD},{_NEW}"
    names = scene.entered(Names(_NAME, _OLD))
    limit = _WITHIN * scene.ease.get(scene.peers[0], 1.0)
    with scene.load(place={"host": _NAME}, under=names.command) as load:
        with load.fault() as struck:
            names.point(_NEW)
            began = time.monotonic()
            struck()
            while _connections(load, scene.peers[0], _OLD) and time.monotonic() < began + limit:
                time.sleep(0.02)
            seconds = time.monotonic() - began
        left = {peer: _connections(load, peer, _OLD) for peer in scene.peers}
    for peer, found in scene.results.items():
        found.facts["note"] = f"{left[peer]} connections to the old address after {seconds:.2f} s"
        found.problems += [found.facts["note"]] if left[peer] else []


def _connections(load: Load, peer: str, address: str) -> int:
    """How many this pool's process has to that address."""
    found = psutil.Process(load.contestants[peer].pid).net_connections("tcp4")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.raddr.ip == address for each in found)
