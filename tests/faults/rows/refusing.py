"""A server that is there and takes no sessions: it is full, or it is starting."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from psycopg2 import OperationalError

from tests.faults.measured import LATE
from tests.faults.rows.row import row
from tests.faults.scene import ROLE, Scene

_BUSY = "slow 0.03"  # reads that long keep all 8 connections busy


@row("15a", told=1.0, back=0.1, clean=0.1, rate=5)
def server_full(scene: Scene) -> None:
    """Others take all of the server's sessions for 5 s: the 4 that are open serve everybody, and the pool grows after."""
    scene.settings["max_connections"] = "100"
    _grows_after(scene, lambda: _crowded(scene))


@row("15b", told=1.0, back=0.1, clean=0.1, rate=5)
def role_limit_reached(scene: Scene) -> None:
    """The role may have no further session for 5 s: the 4 that are open serve everybody, and the pool grows after."""
    _grows_after(scene, lambda: _limited(scene))


@row("17", failed=LATE, told=3.7, back=0.3, clean=0.4, late=3.3)
def server_starting(scene: Scene) -> None:
    """A restart in which the server answers for 3 s that it is starting: requests wait until their deadline."""
    with scene.load() as load, load.fault() as struck:
        scene.server.stop("fast")
        struck()
        with _starting_for_long(scene):
            scene.sleep(3, 2.5)


def _grows_after(scene: Scene, fault: Callable[[], AbstractContextManager[None]]) -> None:
    """More than the 4 open connections are needed while the fault lasts; when it is over there are soon 8."""
    ours = scene.peers[0]
    with scene.load(minimum=4, first=3) as load:
        with load.fault(), fault():
            load.order(_BUSY)
            load.order("resume")
            scene.sleep(5, 2.5)
        seconds = scene.grown(ours, 5)
        scene.grown(ours, 8)
    if seconds > (allowed := 0.5 * scene.ease.get(ours, 1.0)):
        scene.results[ours].problems.append(f"grows after {seconds:.2f} s, allowed are {allowed:g}")


@contextmanager
def _crowded(scene: Scene) -> Iterator[None]:
    """Sessions of others take all that is free."""
    with ExitStack() as stack:
        limit = time.monotonic() + 20.0
        while time.monotonic() < limit:
            try:
                stack.enter_context(closing(scene.server.admin(user=ROLE, application_name="others")))
            except OperationalError:
                break
        yield


@contextmanager
def _limited(scene: Scene) -> Iterator[None]:
    scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    yield
    scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@contextmanager
def _starting_for_long(scene: Scene) -> Iterator[None]:
    """Start the server as a standby that nobody may read, which it calls starting, and promote it at the end."""
    server = scene.server
    with open(server.data / "postgresql.conf", "a") as file:
        file.write("hot_standby = off\n")
    (server.data / "standby.signal").touch()
    start = threading.Thread(target=server.start)  # returns when it accepts sessions
    start.start()
    _says(scene, "not accepting connections")
    yield
    (server.data / "promote").touch()
    os.kill(server.pid, signal.SIGUSR1)
    start.join()


def _says(scene: Scene, words: str, seconds: float = 10.0) -> None:
    """Wait until the server refuses sessions in these words."""
    limit, said = time.monotonic() + seconds, ""
    while words not in said:
        if time.monotonic() > limit:
            raise TimeoutError(f"the server does not say {words!r}, but {said!r}")
        try:
            scene.server.admin().close()
        except OperationalError as error:
            said = str(error)
        time.sleep(0.01)
