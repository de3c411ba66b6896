"""Connections that the network ends: by RST, by FIN, in one direction only, in the middle of an answer."""

from __future__ import annotations

from tests.faults.measured import IN_FLIGHT
from tests.faults.proxy import Proxy
from tests.faults.rows.row import row
from tests.faults.scene import Scene

_WAYS = ("rst", "fin", "half")


@row("22a", told=3.7, back=0.1, clean=0)
def connections_ended_while_idle(scene: Scene) -> None:
    """All connections end by RST, by FIN, or for reading only, while no request is under way: no request notices."""
    proxy = scene.entered(Proxy(scene.host, scene.server.port))
    with scene.load(place={"port": proxy.port}) as load:
        for how in _WAYS:
            load.order("pause")
            scene.sleep(0.5, 0.3)
            with load.fault():
                proxy.end_all(how)
                scene.sleep(0.1)
            load.order("resume")
            scene.sleep(1.0, 0.3)


@row("22b", failed=IN_FLIGHT, told=3.7, back=0.1, clean=0.1)
def connections_ended_under_load(scene: Scene) -> None:
    """All connections end by RST, by FIN, or for reading only, while half of them are used: one error each at most."""
    proxy = scene.entered(Proxy(scene.host, scene.server.port))
    with scene.load(place={"port": proxy.port}) as load:
        load.order("slow 0.015")
        for how in _WAYS:
            scene.sleep(1.0, 0.3)
            with load.fault():
                proxy.end_all(how)


@row("22c")
def answers_cut_short(scene: Scene) -> None:
    """Long answers come in drips, or end in the middle by RST, FIN or silence: one error each, none is short."""
    scene.play("cutting:cutting", setting={"acquire": 1.0})
