"""Everything, in no order."""

from __future__ import annotations

import time

from tests.faults.measured import LATE
from tests.faults.rows.row import row
from tests.faults.scene import Scene
from tests.soak.faults import NETWORK, ROLES, SERVER, Stage, password_changed, primary_lost

_FAULTS = [each for each in (*SERVER, *NETWORK, *ROLES) if each is not password_changed]  # that is the row 16
_EVERY, _BREATH = 2.0, 1.0  # seconds from one fault to the next, and without one at least


@row("32", failed=LATE, told=6.7, back=1.0, clean=0.8, late=0.45, never="read-only transaction")
def soak(scene: Scene) -> None:
    """A random fault every 2 s for 50 s, the loss of the primary first: one of a primary, two standbys and their networks."""
    stage = Stage(scene, 8)
    with scene.load(place=stage.place) as load:
        faults, over = [primary_lost], time.monotonic() + (0 if scene.short else 50)
        while faults:
            began = time.monotonic()
            with load.fault():
                faults.pop()(stage)
            if time.monotonic() < over:
                time.sleep(max(_BREATH, began + _EVERY - time.monotonic()))
                faults.append(scene.dice.choice(_FAULTS))
