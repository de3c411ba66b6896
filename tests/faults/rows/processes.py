"""Processes of the client that fork, are reloaded, end or are killed."""

from __future__ import annotations

from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("23a")
def fork_of_a_warm_pool(scene: Scene) -> None:
    """A process forks: parent and child ask at once, no answer goes to the other, and no session is shared."""
    _fork(scene, under_load=False)


@row("23b")
def fork_under_load(scene: Scene) -> None:
    """A process forks while 16 of its threads ask: the same."""
    _fork(scene, under_load=True)


def _fork(scene: Scene, *, under_load: bool) -> None:
    requests, patience = (50, 3.0) if scene.short else (200, 8.0)
    scene.play("forked:forked", requests=requests, patience=patience, under_load=under_load)


@row("23c")
def gunicorn_preloaded(scene: Scene) -> None:
    """gunicorn --preload with a pool that is warm before the fork: 300 requests to two workers, each has its own answer."""
    _serve(scene, "preloaded", 12.0, 4.0)


@row("24")
def gunicorn_reloaded_and_ended(scene: Scene) -> None:
    """SIGHUP and SIGTERM with eight requests under way: none fails; what the end cuts off ends at the server as well."""
    _serve(scene, "ended", 3.0, 2.5)


@row("25")
def workers_killed_in_mid_query(scene: Scene) -> None:
    """SIGKILL of the workers with queries of 30 s running: their sessions are gone within 5 s."""
    _serve(scene, "killed", 5.0, 3.5)


def _serve(scene: Scene, script: str, patience: float, short: float) -> None:
    """gunicorn takes its time to start where many do. No query is too long for the pools."""
    scene.play(f"deployed:{script}", seconds=240, patience=short if scene.short else patience, setting={"query": 60.0})
