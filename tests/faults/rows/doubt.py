"""Requests and answers that are lost on the way: what was done, and who knows."""

from __future__ import annotations

from tests.faults.rows.row import row
from tests.faults.scene import Scene

_SETTING = {"connections": 12, "minimum": 12}  # each hang keeps one


@row("18")
def commit_lost(scene: Scene) -> None:
    """COMMIT or its answer is lost by RST, FIN or silence: the pool says that it is in doubt, and repeats nothing."""
    scene.play("doubt:commits", setting=_SETTING)


@row("19")
def answer_lost(scene: Scene) -> None:
    """An autocommit answer is lost: a write is in doubt, and there once; what is promised to be a read is run again."""
    scene.play("doubt:statements", setting=_SETTING)
