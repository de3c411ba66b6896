"""Whatever is done to a pool in whatever order: no connection is in two hands or lost, and nobody finds what another left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import eventually_none
from tests.fuzz import LONG, limits, seeded
from tests.fuzz.holdings import TABLE
from tests.fuzz.machine import Machine, SingleMachine
from tests.servers import Server
from tests.usage import fresh_table

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def nothing_stays(server: Server) -> Iterator[None]:
    """A table for the rows; afterwards no thread and no session of any pool is left."""
    fresh_table(server, TABLE.partition(".")[2], "id int PRIMARY KEY")
    before = set(threading.enumerate())
    yield
    assert eventually_none(lambda: [each.name for each in set(threading.enumerate()) - before]) == []
    assert eventually_none(lambda: [*server.sessions("fuzz:%"), *server.sessions("pgdbpool:%")]) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [Machine, SingleMachine])
def test_a_pool_does_as_its_model(server: Server, kind: type[Machine]) -> None:
    """After each step the books, the figures, the server's sessions and every holder agree with the model."""
    phases = (Phase.generate, Phase.shrink) if LONG else (Phase.generate,)  # what is found may take minutes to shrink
    rules = limits(15, 1000, stateful_step_count=30, phases=phases)
    run_state_machine_as_test(seeded(lambda: kind(server)), settings=rules)
