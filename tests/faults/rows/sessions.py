"""Sessions that end, one by one or all at once, while the server lives."""

from __future__ import annotations

from tests.faults.measured import IN_FLIGHT
from tests.faults.rows.row import row
from tests.faults.scene import Scene


@row("1", told=3.7, back=0.1, clean=0)
def all_sessions_terminated_while_idle(scene: Scene) -> None:
    """An administrator ends every session while no request is under way: no request notices."""
    with scene.load() as load:
        load.order("pause")
        scene.sleep(0.5, 0.3)
        with load.fault():
            scene.terminate(scene.sessions())
            scene.sleep(0.1)
        load.order("resume")


@row("2", failed=IN_FLIGHT, told=3.7, back=0.1, clean=0.1)
def all_sessions_terminated_under_load(scene: Scene) -> None:
    """An administrator ends every session, three times: one error at most for each request under way."""
    with scene.load() as load:
        for _ in range(3):
            with load.fault():
                scene.terminate(scene.sessions())
            scene.sleep(0.8, 0.4)
