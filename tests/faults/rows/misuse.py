"""What users of a pool do wrong, and what it does not let them do."""

from __future__ import annotations

from tests.faults.rows.row import row
from tests.faults.scene import Scene

_PATIENT = {"acquire": 30.0, "query": 30.0}  # a busy machine is no fault here


@row("26")
def connections_not_given_back(scene: Scene) -> None:
    """Threads interrupted anywhere 1000 times, ended with a connection, or holding on: no slot lost, each leak is logged."""
    times = 200 if scene.short else 1000
    setting = {**_PATIENT, "acquire": 3.4, "ours": {"group": {"hold_warning": 1}}}
    scene.play("interrupted:interrupted", seconds=120, times=times, setting=setting)


@row("27")
def misused_connections(scene: Scene) -> None:
    """Released twice, by a stranger, or used after release: an error each; 1,000,000 checkouts, none in two hands."""
    rounds = 50_000 if scene.short else 1_000_000
    for peer, cases in scene.play("misuse:misuse", seconds=300, rounds=rounds, setting=_PATIENT).items():
        scene.results[peer].facts["note"] = cases[-1].seen
