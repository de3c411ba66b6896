"""Networks that fall silent: nothing passes, nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.faults.contestant import Contestant
from tests.faults.measured import LATE
from tests.faults.namespace import Namespace, why_not
from tests.faults.proxy import Proxy
from tests.faults.rows.row import row
from tests.faults.scene import Scene

# Of both sides, for neither tells the other: "libpq-connect.html" and "runtime-config-connection.html" in PostgreSQL's
# manual. psycopg2.pool keeps its defaults, by which it never notices.
_CLIENTS = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 2000}
_SERVERS = {name if name.startswith("tcp_") else f"tcp_{name}": str(value) for name, value in _CLIENTS.items()}


@row("9a", needs=why_not, failed=LATE, told=5.2, back=1.0, clean=1.2)
def blackhole(scene: Scene) -> None:
    """The kernel drops every packet for 10 s: nobody waits for TCP, which would try again seconds after the end."""
    net = scene.net = scene.entered(Namespace())
    scene.strike(partial(net.drop, scene.server.port), net.heal, lasts=10, short=3.5)


@row("9b", failed=LATE, told=5.2, back=1.0, clean=1.2)
def blackhole_behind_a_proxy(scene: Scene) -> None:
    """A proxy passes on nothing for 10 s, and acknowledges what is sent: no thread waits longer than its limits."""
    proxy = scene.entered(Proxy(scene.host, scene.server.port))
    scene.strike(proxy.blackhole, proxy.heal, lasts=10, short=5.5, place={"port": proxy.port})


@row("9c", needs=why_not)
def transaction_cut_off(scene: Scene) -> None:
    """A transaction holds a lock when the kernel drops every packet for 7 s: afterwards the lock is not in the way."""
    net = scene.net = scene.entered(Namespace())

    def silence(clients: Mapping[str, Contestant]) -> None:
        for each in clients.values():
            each.told("locked", 30)
        net.drop(scene.server.port)
        for each in clients.values():
            each.order("silent")
        scene.sleep(7, 3.5)
        net.heal()
        for each in clients.values():
            each.order("over")

    scene.play("locking:locking", meanwhile=silence, setting={"connections": 2, "minimum": 2})


@row("10a", needs=why_not, failed=LATE, told=5.0, back=1.0, clean=1.0)
def link_down(scene: Scene) -> None:
    """The cable is pulled for 7 s while queries run without a limit: TCP's own, which the others leave to libpq, end them."""
    ours = {"endpoint": {"libpq": _CLIENTS, "query_timeout": 0}, "group": {"query_timeout": 0}}
    _pull_the_cable(scene, ours=ours)


@row("10b", needs=why_not, failed=LATE, told=5.0, back=1.0, clean=1.0)
def link_down_non_threaded(scene: Scene) -> None:
    """The same for a pool of one thread, which nobody watches."""
    ours = {"root": {"type": "non-threaded"}, "endpoint": {"libpq": _CLIENTS}}
    _pull_the_cable(scene, ours=ours, connections=1, minimum=1, threads=1)


def _pull_the_cable(scene: Scene, **setting: Any) -> None:
    net = scene.net = scene.entered(Namespace())
    scene.settings.update(_SERVERS)
    with scene.load(**setting) as load:
        load.order("slow 0.05")
        scene.sleep(0.5)
        with load.fault() as struck:
            net.link_down()
            struck()
            scene.sleep(7, 5.5)
            net.heal()
