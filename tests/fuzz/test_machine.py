"""Whatever is done to a pool in whatever order: no connection is in two hands or lost, and nobody finds what another left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from hypothesis import Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from pgdbpool.access.lease import Lease
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.group import Group
from tests.conftest import eventually_none
from tests.fuzz import LONG, limits, seeded
from tests.fuzz.holdings import TABLE
from tests.fuzz.machine import Machine, SingleMachine
from tests.servers import Server
from tests.usage import fresh_table

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    *([] if LONG else [pytest.mark.timeout(120)]),
]


@pytest.fixture(autouse=True)
def nothing_stays(server: Server) -> Iterator[None]:
    """A table for the rows; afterwards no thread and no session of any pool is left."""
    fresh_table(server, TABLE.partition(".")[2], "id int PRIMARY KEY")
    before = set(threading.enumerate())
    yield
    assert eventually_none(lambda: [each.name for each in set(threading.enumerate()) - before]) == []
    assert eventually_none(lambda: [*server.sessions("fuzz:%"), *server.sessions("pgdbpool:%")]) == []


@pytest.mark.contract("4.protected.2", "4.given-back.1", "4.alive.2", "4.fork.1", "4.fork.2", "2.call.resize.1")
@pytest.mark.parametrize("kind", [Machine, SingleMachine])
def test_a_pool_does_as_its_model(server: Server, kind: type[Machine]) -> None:
    """After each step the books, the figures, the server's sessions and every holder agree with the model."""
    phases = (Phase.generate, Phase.shrink) if LONG else (Phase.generate,)  # what is found may take minutes to shrink
    rules = limits(10 if kind.threaded else 6, 250, stateful_step_count=80, phases=phases)
    run_state_machine_as_test(seeded(lambda: kind(server)), settings=rules)


# -- bugs planted to see that they are found ------------------------------------------------------------------------------


def keeps_state(patch: pytest.MonkeyPatch) -> None:
    """What is given back counts as clean."""
    patch.setattr("pgdbpool.engine.engine.clean", lambda *_, **__: True)


def is_idle_twice(patch: pytest.MonkeyPatch) -> None:
    """A connection that is given back stands on its shelf twice."""
    patch.setattr(Group, "release", _then(Group.release, lambda group, slot, *_: slot.shelf.idle.append(slot)))


def forgets_the_dead(patch: pytest.MonkeyPatch) -> None:
    """A connection that was found dead goes on taking its place."""
    patch.setattr(Group, "broken", lambda *_, **__: None)


def stays_in_the_child(patch: pytest.MonkeyPatch) -> None:
    """The child of a fork has its parent's connections."""
    patch.setattr(Engine, "after_fork_in_child", lambda engine: None)


def works_after_release(patch: pytest.MonkeyPatch) -> None:
    """What was given back can still be used."""
    patch.setattr(Lease, "at_work", lambda lease: lease._grip)
    patch.setattr(Lease, "_give_back", lambda lease: lease._slot and lease._release(lease._slot, False))


def commits_what_failed(patch: pytest.MonkeyPatch) -> None:
    """An exception in the block commits, as in pgdbpool 1.0."""
    leave = Lease.__exit__
    patch.setattr(Lease, "__exit__", lambda lease, *_: leave(lease, None, None, None))


def _then(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., Any]:
    def both(*args: Any) -> None:
        first(*args)
        second(*args)

    return both


# The last two are rarely found soon.
PLANTED = [keeps_state, is_idle_twice, forgets_the_dead, stays_in_the_child, works_after_release, commits_what_failed]


@pytest.mark.parametrize("plant", PLANTED if LONG else PLANTED[:4], ids=lambda plant: plant.__name__)
def test_planted_bugs_are_found(
    server: Server, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """A pool with a bug of the kinds that the machine is there for does not get through it."""
    plant(monkeypatch)
    monkeypatch.setattr("tests.fuzz.inspection.PATIENCE", 1.0)
    rules = settings(limits(60, 60, stateful_step_count=40, phases=(Phase.generate,)), report_multiple_bugs=False)
    with pytest.raises((AssertionError, psycopg2.Error, Flaky)):
        run_state_machine_as_test(lambda: Machine(server), settings=rules)
