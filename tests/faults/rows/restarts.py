"""A server that goes and comes back."""

from __future__ import annotations

import os
import signal
from functools import partial

from pgdbpool.demo.processes import gone
from tests.faults.measured import IN_FLIGHT, LATE
from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("3", failed=IN_FLIGHT, told=3.7, back=0.1, clean=0.2)
def restart_fast(scene: Scene) -> None:
    """The server is restarted (fast): those under way fail, the others wait."""
    scene.strike(partial(scene.server.stop, "fast"), scene.server.start)


@row("4a", failed=IN_FLIGHT, told=3.7, back=0.2, clean=0.3)
def restart_immediate(scene: Scene) -> None:
    """The server is restarted (immediate)."""
    scene.strike(partial(scene.server.stop, "immediate"), scene.server.start)


@row("4b", failed=IN_FLIGHT, told=3.7, back=0.2, clean=0.3)
def one_backend_killed(scene: Scene) -> None:
    """kill -9 of one backend: the server ends all of them and recovers."""

    def kill() -> None:
        victims = scene.sessions()
        os.kill(scene.dice.choice(victims), signal.SIGKILL)
        gone(victims, 5.0)  # the postmaster ends the others when it has heard of it

    scene.strike(kill, scene.accepts)


@row("4c", failed=IN_FLIGHT, told=3.7, back=0.2, clean=0.3)
def all_killed_and_started(scene: Scene) -> None:
    """kill -9 of the whole server, and a start: a crash of its machine."""
    scene.strike(scene.server.kill9, scene.server.start)


@row("5", failed=LATE, told=3.7, back=0.5, clean=0.6, late=3.3, attempts=20)
def server_down(scene: Scene) -> None:
    """Connections are refused for 10 s: whoever waits is told at its deadline, and the server is not stormed."""
    scene.strike(partial(scene.server.stop, "fast"), scene.server.start, lasts=10, short=4.5)
