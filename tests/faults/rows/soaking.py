"""Everything, in no order."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.faults.measured import LATE
from tests.faults.rows.row import row
from tests.faults.scene import Scene
from tests.soak.faults import NETWORK, ROLES, SERVER, Fault, Stage, password_changed, primary_lost

_FAULTS = [each for each in (*SERVER, *NETWORK, *ROLES) if each is not password_changed]  # that is the row 16
_LASTS, _EVERY, _BREATH = 50.0, 2.0, 1.0  # seconds in all, from one fault to the next, and without one at least


@row("32", failed=LATE, told=6.7, back=1.0, clean=0.8, late=0.45, never="read-only transaction")
def soak(scene: Scene) -> None:
    """A random fault every 2 s for 50 s, the loss of the primary first: one of a primary, two standbys and their networks."""
    stage = Stage(scene, 8)
    with scene.load(place=stage.place) as load:
        for fault in _chosen(scene):
            began = time.monotonic()
            with load.fault():
                fault(stage)
            scene.sleep(max(_BREATH, began + _EVERY - time.monotonic()), 0)


def _chosen(scene: Scene) -> Iterator[Fault]:
    """Until the time is over; in the short form the first one only."""
    over = time.monotonic() + (0 if scene.short else _LASTS)
    yield primary_lost
    while time.monotonic() < over:
        yield scene.dice.choice(_FAULTS)
