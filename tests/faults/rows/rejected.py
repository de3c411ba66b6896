"""What only an administrator can mend: the server refuses every session, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.measured import ALL
from tests.faults.rows.row import row
from tests.faults.scene import DATABASE, PASSWORD, ROLE, Scene

_SAYS = (
    rf'password authentication failed for user "{ROLE}"|database "{DATABASE}" does not exist'
    rf'|database "{DATABASE}" is not currently accepting|pg_hba.conf rejects connection'
)


@row("16", failed=ALL, told=1.0, back=1.0, clean=1.0, rate=1, says=_SAYS)
def sessions_rejected(scene: Scene) -> None:
    """Password, database, pg_hba.conf, role: whoever asks is told at once, in the server's words, by one attempt a second."""
    faults = [_password, _database, _hba, _role]
    with scene.load() as load:
        for fault in scene.dice.sample(faults, 2) if scene.short else faults:
            with load.fault() as struck, fault(scene):
                _terminate(scene)
                struck()
                scene.sleep(2, 1)
            scene.sleep(1.5, 1.2)


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
    others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'postgres'"
    _sql(scene, f"SELECT pg_terminate_backend(pid, 5000) FROM ({others}) AS others")


def _sql(scene: Scene, text: str) -> None:
    """In a database that is always there."""
    scene.server.sql(text)
