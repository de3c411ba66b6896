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
    requests, patience = (50, 4.0) if scene.short else (200, 8.0)
    scene.play("forked:forked", requests=requests, patience=patience, under_load=under_load)
