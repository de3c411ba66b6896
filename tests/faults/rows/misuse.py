"""What users of a pool do wrong, and what it does not let them do."""

from __future__ import annotations

from tests.faults.rows.row import row
from tests.faults.scene import Scene

_PATIENT = {"acquire": 30.0, "query": 30.0}  # a busy machine is no fault here


@row("26a")
def threads_interrupted_anywhere(scene: Scene) -> None:
    """1000 asynchronous exceptions in 16 threads that ask, wherever they are just then: no slot is lost."""
    scene.play("interrupted:interrupted", times=200 if scene.short else 1000, setting={"query": 30.0})


@row("26b")
def connections_not_given_back(scene: Scene) -> None:
    """Threads that end with a connection, or hold on to it: no slot is lost, and the log says where it was taken."""
    scene.play("interrupted:left_behind", setting={"ours": {"group": {"hold_warning": 1}}})


@row("27")
def misused_connections(scene: Scene) -> None:
    """Released twice, by a stranger, or used after release: an error each; 1,000,000 checkouts, none in two hands."""
    rounds = 50_000 if scene.short else 1_000_000
    for peer, cases in scene.play("misuse:misuse", seconds=300, rounds=rounds, setting=_PATIENT).items():
        scene.results[peer].facts["note"] = cases[-1].seen
