"""Every row of the fault matrix in its short form: pgdbpool is within the limits, psycopg2's pool is not.

The limits for time are eased for a machine that is busy; what is counted, and the ledger, are as in ``make faults``.
``PGDBPOOL_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.measured import Measured
from tests.faults.record import OURS, SHOWN_BY, Run
from tests.faults.rows import ROWS
from tests.faults.table import lines

NETWORK = "PGDBPOOL_TEST_NETWORK"
AT_ONCE = 2
EASE = {OURS: 3.0}


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, nothing_is_left: None) -> Iterator[Callable[[str], dict[str, Measured]]]:
    """What became of a row; the rows that were chosen run two at a time, because each sleeps most of its time."""
    seed = int(os.environ.get("PGDBPOOL_SEED") or random.SystemRandom().randrange(10**6))
    print(f"PGDBPOOL_SEED={seed}")  # noqa: T201 (pytest shows it where the test fails)
    running: dict[str, Future[dict[str, Measured]]] = {}
    with ThreadPoolExecutor(AT_ONCE) as executor:
        for item in request.session.items:
            number = item.callspec.params["number"] if item.module is request.module else None
            if number and not ROWS[number].needs():
                running[number] = executor.submit(ROWS[number].run, [OURS, SHOWN_BY], seed, short=True, ease=EASE)
        yield lambda number: running[number].result()
        executor.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.contract("4.alive.2", "4.lost.1", "4.no-thread-waits.1", "4.no-thread-waits.2", "4.a-write-that.1")
@pytest.mark.parametrize("number", ROWS, ids=lambda number: f"{number} {ROWS[number].name}")
def test_row(number: str, results: Callable[[str], dict[str, Measured]]) -> None:
    """What the row says holds for pgdbpool, and not for psycopg2's pool."""
    row = ROWS[number]
    if why := row.needs():
        assert os.environ.get(NETWORK) != "required", why
        pytest.skip(why)
    found = results(number)
    objections = Run(number, 0, results=found).objections
    assert not objections, f"{row.sentence}\n{lines(row, found, verbose=True)}"
