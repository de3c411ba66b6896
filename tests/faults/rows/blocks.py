"""Blocks that end by an error: the server's own, or the application's."""

from __future__ import annotations

from tests.faults.rows.row import row
from tests.faults.scene import ROLE, Scene

_ONE = {"connections": 1, "minimum": 1, "query": 5.0}


@row("21")
def exception_inside_the_block(scene: Scene) -> None:
    """Whatever a block that an exception ends has set in its session, committed or not: the next user sees none of it."""
    scene.sql(f"CREATE ROLE clerk; GRANT clerk TO {ROLE}")
    scene.play("leaving:leaving", setting=_ONE)
