"""The judge of the fault matrix: it sees each kind of violation, and a verdict of OK means something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.measured import (
    ALL,
    CONNECTIONS,
    IN_FLIGHT,
    LATE,
    Book,
    Case,
    Left,
    Limits,
    Measured,
    Request,
    Window,
    of_cases,
    of_load,
)
from tests.faults.record import OURS, SHOWN_BY, Run, worst
from tests.faults.words import in_short

WINDOW = Window(began=10.0, struck=10.1, ended=12.0)  # in a load of 20 s
LIMITS = Limits(told=3.0, back=0.5, clean=0.5)


def judged(*requests: Request, limits: Limits = LIMITS, **other: Any) -> Measured:
    """Under the load 10 reads a second succeed, but for the time of the fault; besides there are ``requests``."""
    fine = [Request("read", f"r{n}", n / 10, n / 10 + 0.01, "ok", "") for n in range(200) if not 98 < n < 121]
    words: dict[str, Any] = {
        "requests": other.pop("fine", fine) + list(requests),
        "windows": [WINDOW],
        "gaps": [],
        "capacity": 8,
        "connections": 8,
        "book": Book({}, 0),
        "left": Left(8, 0, 0, (20, 20)),
    }
    return of_load(limits=limits, **{**words, **other})


def failed(began: float, ended: float, outcome: str = "failed", kind: str = "insert", error: str = "lost") -> Request:
    return Request(kind, "key", began, ended, outcome, error)


def under_way(count: int) -> list[Request]:
    return [failed(9.9, 10.2)] * count


def of(**limits: Any) -> Limits:
    return Limits(**{"told": 3.0, "back": 0.5, "clean": 0.5, **limits})


READS = [Request("read", "r", 5.0, 5.01, "ok", "")]

VIOLATIONS: dict[str, Callable[[], Measured]] = {
    "1 that were under way failed, allowed are 0": lambda: judged(*under_way(1)),
    "9 that were under way failed, allowed are 8": lambda: judged(*under_way(9), limits=of(failed=IN_FLIGHT)),
    "3 that were under way failed, allowed are 2": lambda: judged(
        failed(11.0, 11.1), *under_way(2), limits=of(failed=2)
    ),
    "1 failed that were not under way when the fault struck": lambda: judged(
        failed(10.2, 10.3), limits=of(failed=IN_FLIGHT)
    ),
    "2 failed that were not under way when the fault struck": lambda: judged(
        *[failed(10.2, 11.1)] * 2, failed(10.2, 11.3), limits=of(failed=LATE, late=1.0)
    ),
    "1 threads hang": lambda: judged(failed(9.9, 10.2, "hung"), limits=of(failed=IN_FLIGHT)),
    "1 failed that began later than 0.5 s after the end": lambda: judged(
        failed(12.6, 14.0), limits=of(failed=LATE, late=1.0)
    ),
    "a request took 3.10 s, allowed are 3": lambda: judged(Request("read", "r", 9.9, 13.0, "ok", "")),
    "back after 0.60 s, allowed are 0.5": lambda: judged(fine=[*READS, Request("read", "r", 12.0, 12.6, "ok", "")]),
    "back after 1.00 s, allowed are 0.5": lambda: judged(
        Request("insert", "key", 12.9, 13.0, "ok", ""), limits=of(written=True), book=Book({"key": 1}, 0)
    ),
    "1 errors say 'read-only': read-only transaction": lambda: judged(
        failed(9.9, 10.2, error="read-only transaction"), limits=of(failed=IN_FLIGHT, never="read-only")
    ),
    "no success afterwards": lambda: judged(fine=READS),
    "no fault struck": lambda: judged(windows=[]),
    "the GIL was held for 0.15 s": lambda: judged(gaps=[(11.0, 0.15)]),
    "capacity 7/8": lambda: judged(capacity=7),
    "left behind: 9 sessions": lambda: judged(left=Left(9, 0, 0, (20, 20))),
    "left behind: 1 idle in transaction": lambda: judged(left=Left(8, 1, 0, (20, 20))),
    "left behind: 1 advisory locks": lambda: judged(left=Left(8, 0, 1, (20, 20))),
    "left behind: 1 descriptors": lambda: judged(left=Left(8, 0, 0, (20, 24))),
    "ledger: 1 acknowledged and lost": lambda: judged(failed(5.0, 5.1, "ok")),
    "ledger: 1 there twice": lambda: judged(failed(5.0, 5.1, "ok"), book=Book({"key": 2}, 0)),
    "ledger: 1 failed but there": lambda: judged(*under_way(1), book=Book({"key": 1}, 0), limits=of(failed=IN_FLIGHT)),
    "ledger: 1 wrong answers": lambda: judged(failed(5.0, 5.1, "wrong", "read")),
    "ledger: 1 half a transfer": lambda: judged(book=Book({}, -3)),
    "3 attempts to connect, allowed are 2": lambda: judged(attempts=[9.0, 10.5, 11.0, 12.0], limits=of(attempts=2)),
    "4 attempts to connect, allowed are 3": lambda: judged(attempts=[10.5, 11.0, 11.5, 12.0], limits=of(rate=1)),
    "1 errors do not say 'password': lost": lambda: judged(
        failed(11.0, 11.1), failed(11.0, 11.1, error="a password"), limits=of(failed=2, says="password")
    ),
    "the 99th percentile was 10 ms and became 110": lambda: judged(
        *[Request("read", "r", 11.0, 11.11, "ok", "")] * 20, limits=of(slower=2)
    ),
}


@pytest.mark.parametrize("problem", VIOLATIONS)
def test_the_judge_sees(problem: str) -> None:
    """One violation of a limit is one problem."""
    assert VIOLATIONS[problem]().problems == [problem]


def test_what_fails_before_the_fault_is_seen() -> None:
    """Nothing excuses a failure before the fault, not even a row in which everything may fail."""
    assert "1 failed before the fault" in judged(failed(5.0, 5.1), limits=of(failed=ALL)).problems
    assert judged(failed(5.0, 5.1), limits=of(failed=IN_FLIGHT)).problems == [
        "1 failed that were not under way when the fault struck",
        "1 failed before the fault",
    ]


ALLOWED: dict[str, Callable[[], Measured]] = {
    "nothing fails": judged,
    "one for each connection": lambda: judged(*under_way(CONNECTIONS), limits=of(failed=IN_FLIGHT)),
    "one for each connection and fault": lambda: judged(
        *under_way(CONNECTIONS),
        *[failed(13.9, 14.1)] * CONNECTIONS,
        windows=[WINDOW, Window(14.0, 14.0, 14.2)],
        limits=of(failed=IN_FLIGHT),
    ),
    "waited until its limit": lambda: judged(*[failed(10.2, 11.3)] * 30, limits=of(failed=LATE, late=1.0)),
    "failed while it lasts": lambda: judged(*[failed(11.0, 11.1)] * 30, limits=of(failed=ALL)),
    "so many": lambda: judged(failed(11.0, 11.1), failed(9.9, 10.2), limits=of(failed=2)),
    "in doubt and there": lambda: judged(
        failed(9.9, 10.2, "doubt"), book=Book({"key": 1}, 0), limits=of(failed=IN_FLIGHT)
    ),
    "in doubt and not there": lambda: judged(failed(9.9, 10.2, "doubt"), limits=of(failed=IN_FLIGHT)),
    "a gap at another time": lambda: judged(gaps=[(5.0, 0.5), (15.0, 0.5)]),
    "attempts at another time": lambda: judged(attempts=[5.0, 13.0], limits=of(attempts=0)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_judge_allows(name: str) -> None:
    """What a row allows is no problem."""
    assert ALLOWED[name]().problems == []


def test_eased_limits() -> None:
    """For a busy machine times grow, and neither what may fail nor what a pool was told to wait."""
    limits = Limits(failed=IN_FLIGHT, told=3.7, back=0.1, clean=0.0, gap=0.1, late=3.3, attempts=20)
    eased = limits.eased(3.0)
    assert (eased.told, eased.back, eased.gap) == (pytest.approx(4.3), pytest.approx(0.3), pytest.approx(0.3))
    assert (eased.failed, eased.clean, eased.late, eased.attempts) == (IN_FLIGHT, 0.0, 3.3, 20)
    assert limits.eased(1.0) == limits


def test_cases() -> None:
    """A script's cases are problems where they are not as they should be, and none at all is one, too."""
    found = of_cases([Case("a", True, "fine"), Case("b", False, "seen by the next")])
    assert (found.requests, found.failed, found.problems) == (2, 1, ["b: seen by the next"])
    assert of_cases([Case("a", True, "fine")]).problems == []
    assert of_cases([]).problems == ["nothing was tried"]


def test_a_run_counts_only_if_psycopg2_shows_the_fault() -> None:
    """Ours has to be within the limits and psycopg2's pool must not be; a script that fails proves nothing."""
    good, bad = Measured(), Measured(problems=["lost"])
    assert Run("1", 1, results={OURS: good, SHOWN_BY: bad}).objections == []
    assert Run("1", 1, results={OURS: bad, SHOWN_BY: bad}).objections == ["pgdbpool is not within the limits"]
    assert Run("1", 1, results={OURS: good, SHOWN_BY: good}).objections == [
        "psycopg2.pool is within the limits, too: this proves nothing"
    ]
    assert Run("1", 1, broken="Traceback …").objections == ["the script failed"]
    assert Run("1", 1, results={SHOWN_BY: bad}).objections == ["pgdbpool took no part"]
    assert Run("1", 1, not_run="no network namespaces").objections == []


def test_the_worst_of_the_seeds() -> None:
    """Every figure is the worst of all seeds, and one seed with a problem is a problem."""
    seeds = [
        Measured(900, 3, 0.5, 0.1, 0.0, "8/8", "", "exact"),
        Measured(800, 7, 0.4, 0.2, 0.1, "7/8", "", "1 there twice", problems=["capacity 7/8"]),
        Measured(950, 0, 0.9, 0.0, 0.0, "8/8", "1 advisory locks", "exact"),
    ]
    found = worst(seeds)
    assert (found.failed, found.requests, found.worst, found.back, found.gap) == (7, 800, 0.9, 0.2, 0.1)
    assert (found.capacity, found.leaks, found.ledger) == ("7/8", "1 advisory locks", "1 there twice")
    assert found.problems == ["capacity 7/8"]
    assert worst([*seeds, Measured(back=None)]).back is None


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (
            'OperationalError: connection to server at "::1", port 39667 failed: FATAL:  the system is starting up\n',
            "OperationalError: FATAL: the system is starting up",
        ),
        (
            "DBOfflineError: group 'web': no server is usable (waited 3.40 s). Nobody holds one. Server: 127.0.0.1:3 down",
            "DBOfflineError: group 'web': no server is usable",
        ),
        ("could not open /tmp/pgt-x/data: no", "could not open …: no"),
        ("x" * 200, "x" * 109 + "…"),
    ],
)
def test_errors_in_short(text: str, short: str) -> None:
    """An error in the page has no ports, no temporary paths and no second sentence."""
    assert in_short(text) == short
