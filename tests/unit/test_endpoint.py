"""What is known of one server, and who may dial it when."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pgdbpool.config import parse
from pgdbpool.driver.failures import ConnectFailure
from pgdbpool.engine import endpoint as module
from pgdbpool.engine.endpoint import Endpoint

AWAY = ConnectFailure("", "connection refused")
PASSWORD = ConnectFailure("password", "password authentication failed")


class Clock:
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    return made


@pytest.fixture
def endpoint(clock: Clock) -> Endpoint:
    config: dict[str, Any] = {
        "db": {"host": "db1", "connect_timeout": 7},
        "groups": {"web": {"connection_count": 1}},
    }
    return Endpoint(parse(config).endpoints[0])


def refuse(endpoint: Endpoint, failure: ConnectFailure = AWAY, times: int = 1) -> None:
    for _ in range(times):
        endpoint.refused(OSError(failure.text), failure)


def test_nothing_is_known_at_first(endpoint: Endpoint) -> None:
    """A server that nobody has asked is neither up nor down, and anyone may dial."""
    assert (endpoint.health, endpoint.describe(), endpoint.last_error) == ("unknown", "db1:5432 unknown", None)
    assert endpoint.delay() == 0.0


def test_a_server_that_answers_is_up(endpoint: Endpoint) -> None:
    """A server that lets anyone in is up, and its connects are counted; as many as like may dial."""
    endpoint.connected()
    endpoint.connected()
    assert (endpoint.health, endpoint.connects, endpoint.describe()) == ("up", 2, "db1:5432 up")
    assert endpoint.delay() == 0.0


@pytest.mark.contract("4.lost.1")
def test_after_a_failure_nobody_dials_for_a_while(endpoint: Endpoint, clock: Clock) -> None:
    """After a failed attempt everybody waits for the same pause, from a tenth of a second up to one."""
    pauses = []
    for _ in range(8):
        refuse(endpoint)
        pauses.append(endpoint.delay())
    assert 0.08 <= pauses[0] <= 0.1
    assert 0.8 <= pauses[-1] <= 1.0
    clock.now += pauses[-1] + 0.001
    assert endpoint.delay() == 0.0


@pytest.mark.contract("4.lost.1")
def test_a_success_lets_everybody_in(endpoint: Endpoint, clock: Clock) -> None:
    """When an attempt succeeds all may dial at once, and the next failure pauses as shortly as the first."""
    refuse(endpoint, times=6)
    clock.now += 2.0
    assert endpoint.delay() == 0.0
    endpoint.connected()
    assert endpoint.delay() == 0.0
    refuse(endpoint)
    assert endpoint.delay() <= 0.1


def test_a_permanent_error_is_not_tried_sooner_than_a_second(endpoint: Endpoint, clock: Clock) -> None:
    """However many ask, a wrong password is sent at most once a second."""
    attempts = 0
    refuse(endpoint, PASSWORD)
    assert endpoint.health == "failed"
    for _ in range(500):  # five seconds
        clock.now += 0.01
        if not endpoint.delay():
            attempts += 1
            refuse(endpoint, PASSWORD)
    assert 4 <= attempts <= 5


def test_down_and_failed_are_told_apart(endpoint: Endpoint) -> None:
    """A failure that only a change over there can mend is ``failed``, any other ``down``; the last error is kept."""
    healths = []
    for failure in (AWAY, PASSWORD, AWAY):
        refuse(endpoint, failure)
        healths.append(endpoint.health)
    assert healths == ["down", "failed", "down"]
    assert (str(endpoint.last_error), endpoint.last_failure) == ("connection refused", AWAY)


def test_words_for_a_server_that_is_away(endpoint: Endpoint, clock: Clock) -> None:
    """The description says since when the server is away, from the first failure on, and the last one's words."""
    endpoint.connected()
    refuse(endpoint)
    clock.now += 3.0
    refuse(endpoint, PASSWORD)
    clock.now += 0.25
    assert endpoint.describe() == "db1:5432 failed for 3.2 s: password authentication failed"
    endpoint.connected()
    assert endpoint.describe() == "db1:5432 up"


def test_the_log_tells_changes_only(endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line when a server goes, none for each attempt, and one when it is back, saying after how long."""
    caplog.set_level(logging.INFO, "pgdbpool.endpoint")
    endpoint.connected()
    refuse(endpoint, times=5)
    clock.now += 12.0
    endpoint.connected()
    endpoint.connected()
    assert [record.getMessage() for record in caplog.records] == [
        "db1:5432: cannot connect: connection refused",
        "db1:5432: back after 12.0 s",
    ]


@pytest.mark.contract("4.fork.1")
def test_a_forks_child_asks_anew(endpoint: Endpoint) -> None:
    """The child of a fork knows nothing of the server and may dial, though its parent was inside the lock."""
    refuse(endpoint, times=5)
    endpoint._lock.acquire()
    endpoint.after_fork_in_child()
    assert (endpoint.health, endpoint.delay()) == ("unknown", 0.0)
