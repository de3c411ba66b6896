"""Blocks that end by an error: the server's own, or the application's."""

from __future__ import annotations

from tests.faults.disk import cannot_mount, small_disk
from tests.faults.rows.row import row
from tests.faults.scene import ROLE, Scene

_ONE = {"connections": 1, "minimum": 1, "query": 5.0}


@row("21")
def exception_inside_the_block(scene: Scene) -> None:
    """Whatever a block that an exception ends has set in its session, committed or not: the next user sees none of it."""
    scene.sql(f"CREATE ROLE clerk; GRANT clerk TO {ROLE}")
    scene.play("leaving:leaving", setting=_ONE)


@row("20a")
def statement_that_the_server_refuses(scene: Scene) -> None:
    """40001, 40P01, 25P02, 57014, 55P03: passed on, the session kept; a COMMIT of what has failed never passes for success."""
    scene.settings["deadlock_timeout"] = "100ms"
    scene.play("refused:refused", codes=["40001", "40P01", "25P02", "57014", "55P03"], setting=_ONE)


@row("20b", needs=cannot_mount)
def disk_full(scene: Scene) -> None:
    """53100: the same where the server's disk is full."""
    folder = scene.entered(small_disk())
    scene.sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
    for peer in scene.peers:
        table = f"{scene.schema(peer)}.full"
        scene.sql(f"CREATE TABLE {table} (filler text) TABLESPACE small; ALTER TABLE {table} OWNER TO {ROLE}")
    scene.play("refused:refused", codes=["53100"], setting=_ONE)
