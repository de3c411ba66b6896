"""A server that is there and refuses every session: it says why."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import OperationalError

from tests.faults.measured import ALL, LATE
from tests.faults.rows.row import row
from tests.faults.scene import DATABASE, PASSWORD, ROLE, Scene

_SAYS = (
    rf'password authentication failed for user "{ROLE}"|database "{DATABASE}" does not exist'
    rf'|database "{DATABASE}" is not currently accepting|pg_hba.conf rejects connection'
)


@row("16", failed=ALL, told=0.9, back=1.2, clean=1.2, rate=1, says=_SAYS)  # a second between attempts, and the attempt
def sessions_rejected(scene: Scene) -> None:
    """Password, database, pg_hba.conf, role: whoever asks is told at once, in the server's words, by one attempt a second."""
    faults = [_password, _database, _hba, _role]
    # Few ask: pools that dial for each request keep the machine busy enough by that.
    with scene.load(threads=8, pace=0.1) as load:
        for fault in scene.dice.sample(faults, 2) if scene.short else faults:
            with load.fault() as struck, fault(scene):
                _terminate(scene)
                struck()
                scene.sleep(2, 1)
            scene.sleep(1.5, 1.2)


@row("17", failed=LATE, told=3.7, back=0.3, clean=0.4, late=3.3)
def server_starting(scene: Scene) -> None:
    """A restart in which the server answers for 3 s that it is starting: requests wait until their deadline."""
    with scene.load() as load, load.fault() as struck:
        scene.server.stop("fast")
        struck()
        with _starting_for_long(scene):
            scene.sleep(3, 2.5)


@contextmanager
def _password(scene: Scene) -> Iterator[None]:
    """28P01."""
    _sql(scene, f"ALTER ROLE {ROLE} PASSWORD 'another'")
    yield
    _sql(scene, f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")


@contextmanager
def _database(scene: Scene) -> Iterator[None]:
    """3D000."""
    _sql(scene, f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
    _terminate(scene)
    _sql(scene, f"ALTER DATABASE {DATABASE} RENAME TO away")
    yield
    _sql(scene, f"ALTER DATABASE away RENAME TO {DATABASE}")
    _sql(scene, f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")


@contextmanager
def _hba(scene: Scene) -> Iterator[None]:
    """28000."""
    file = scene.server.data / "pg_hba.conf"
    rules = file.read_text()
    for text in (f"host all {ROLE} 127.0.0.1/32 reject\n{rules}", rules):
        file.write_text(text)
        _sql(scene, "SELECT pg_reload_conf()")
        if text != rules:
            yield


@contextmanager
def _role(scene: Scene) -> Iterator[None]:
    """No such role: a server that asks for passwords says 28P01."""
    _sql(scene, f"ALTER ROLE {ROLE} RENAME TO away")
    yield
    _sql(scene, f"ALTER ROLE away RENAME TO {ROLE}")


def _terminate(scene: Scene) -> None:
    """End all sessions but the superuser's, and return when they are gone."""
    others = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'postgres'"
    limit = time.monotonic() + 10.0
    while _sql(scene, f"SELECT pg_terminate_backend(pid) {others}") and time.monotonic() < limit:
        time.sleep(0.01)


def _sql(scene: Scene, text: str) -> list[tuple[Any, ...]]:
    """In a database that is always there."""
    return scene.server.sql(text)


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
