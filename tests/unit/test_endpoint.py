"""What is known of one server, and who may dial it when."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.config import parse
from pgdbpool.driver.failures import ConnectFailure
from pgdbpool.driver.position import Position
from pgdbpool.engine import endpoint as module
from pgdbpool.engine.endpoint import Endpoint, latest_error
from pgdbpool.waiting import View

AWAY = ConnectFailure("", "connection refused")
PASSWORD = ConnectFailure("password", "password authentication failed")
FULL = ConnectFailure("full", "too many clients")
DEAF = ConnectFailure("deaf", "Connection refused")
STARTING = ConnectFailure("starting", "the database system is starting up")


def somewhere() -> Position:
    """What a standby says that was started at the first moment."""
    return Position(1.0, 1.0, standby=True, cluster="7", timeline=1, lsn=1, started=1)


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


def make(*, changed: Any = lambda: None, **options: Any) -> Endpoint:
    config: dict[str, Any] = {
        "db": {"host": "db1", "connect_timeout": 7, **options},
        "groups": {"web": {"connection_count": 1}},
    }
    return Endpoint(parse(config).endpoints[0], changed)


@pytest.fixture
def endpoint(clock: Clock) -> Endpoint:
    return make()


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
    """After a failed attempt everybody waits for the same pause, from a tenth of a second up to more than one."""
    pauses = []
    for _ in range(8):
        refuse(endpoint)
        pauses.append(endpoint.delay())
    assert 0.08 <= pauses[0] <= 0.1
    assert 1.0 <= pauses[-1] <= 1.4
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
    clock.now += 50.0
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


# -- what it is -------------------------------------------------------------------------------------------------------

#                        unknown  up       full     silent   down     failed
TRANSITIONS = """
    connected          | up       up       up       up       up       up
    reached            | up       up       up       up       up       up
    refused            | down     down     down     down     down     down
    refused: full      | down     full     full     down     down     down
    refused: password  | failed   failed   failed   failed   failed   failed
    overdue            | unknown  silent   silent   silent   down     failed
    answered           | up       up       full     up       full     full
"""


def become(endpoint: Endpoint, health: str) -> Endpoint:
    """Bring it into a state by what leads there."""
    if health in ("up", "full", "silent"):
        endpoint.connected()
    if health == "silent":
        endpoint.overdue()
    elif health not in ("unknown", "up"):
        refuse(endpoint, {"full": FULL, "down": AWAY, "failed": PASSWORD}[health])
    assert endpoint.health == endpoint.state == health
    return endpoint


def happen(endpoint: Endpoint, event: str) -> None:
    what, _, how = event.partition(": ")
    if what == "refused":
        refuse(endpoint, {"": AWAY, "full": FULL, "password": PASSWORD}[how])
    else:
        getattr(endpoint, what)()


def transitions() -> list[tuple[str, str, str]]:
    cells = [
        (event.strip(), row.split()) for event, row in (line.split("|") for line in TRANSITIONS.strip().splitlines())
    ]
    states = ("unknown", "up", "full", "silent", "down", "failed")
    return [(event, before, after) for event, row in cells for before, after in zip(states, row, strict=True)]


@pytest.mark.contract("4.lost.1")
@pytest.mark.parametrize(("event", "before", "after"), transitions())
def test_health(endpoint: Endpoint, event: str, before: str, after: str) -> None:
    """What happens to a server changes what is thought of it."""
    become(endpoint, before)
    happen(endpoint, event)
    assert endpoint.health == after


@pytest.mark.contract("5.eligible.1")
@pytest.mark.parametrize(
    ("health", "there", "away"),
    [
        ("unknown", False, False),
        ("up", True, False),
        ("full", True, False),
        ("silent", False, False),
        ("down", False, True),
        ("failed", False, True),
    ],
)
def test_what_routing_is_told_of_health(endpoint: Endpoint, health: str, there: bool, away: bool) -> None:
    """A server that was reached is there, also when it takes no further session; one that could not be is away."""
    view = become(endpoint, health).view()
    assert (view.there, view.away, view.full, view.silent) == (there, away, health == "full", health == "silent")


@pytest.mark.contract("5.eligible.1")
def test_a_silent_server_that_answers_is_there_again(endpoint: Endpoint, clock: Clock) -> None:
    """An answered probe ends the silence, and says when that was."""
    become(endpoint, "silent")
    clock.now += 1.0
    endpoint.answered()
    assert (endpoint.health, endpoint.answered_at) == ("up", 1001.0)


def test_the_log_tells_of_silence_once(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line when a server falls silent, however many probes are overdue, and one when it answers again."""
    caplog.set_level(logging.INFO, "pgdbpool.endpoint")
    become(endpoint, "up")
    for event in ("overdue", "overdue", "answered", "answered"):
        happen(endpoint, event)
    assert [record.getMessage() for record in caplog.records] == ["db1:5432: does not answer", "db1:5432: answers"]


@pytest.mark.contract("5.eligible.1")
@pytest.mark.parametrize("failure", [AWAY, DEAF, FULL, PASSWORD], ids=str)
def test_who_answers_probes_is_there(endpoint: Endpoint, clock: Clock, failure: ConnectFailure) -> None:
    """A server that answers its probes serves with the connections that it has, whatever becomes of attempts at others."""
    become(endpoint, "up")
    for _ in range(3):
        refuse(endpoint, failure)
        endpoint.answered()
        clock.now += 1.0
        assert (endpoint.view().there, endpoint.view().away) == (True, False)
    refuse(endpoint, failure)
    assert endpoint.view().there
    clock.now += 1.0
    refuse(endpoint, failure)
    assert endpoint.view().there is (failure is FULL)


def test_what_routing_is_told_at_first() -> None:
    """Nothing is known of a server's role, unless it is configured; its weight is the configured one."""
    assert make().view() == View()
    assert make(role="standby", weight=3).view() == View(role="standby", weight=3.0, fixed=True)


@pytest.mark.contract("5.p1.1", "5.p1.2")
def test_its_role_is_what_it_reports(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """A role is learned from what a session reports, and again when it changes; the log tells changes only."""
    caplog.set_level(logging.INFO, "pgdbpool.endpoint")
    seen = []
    for in_recovery, read_only in ((True, True), (True, True), (False, True), (False, False)):
        endpoint.learn(in_recovery, read_only)
        seen.append((endpoint.view().role, endpoint.view().read_only))
    assert seen == [("standby", True), ("standby", True), ("primary", True), ("primary", False)]
    assert [record.getMessage() for record in caplog.records] == [
        "db1:5432: is a standby, read-only by default",
        "db1:5432: is a primary, read-only by default",
        "db1:5432: is a primary",
    ]


@pytest.mark.contract("3.endpoint.role.1")
def test_a_configured_role_stays() -> None:
    """What the configuration says of a server's role is not overruled by what it reports."""
    endpoint = make(role="primary")
    endpoint.learn(True, True)
    assert endpoint.view().role == "primary"


@pytest.mark.contract("5.failover.3")
def test_two_addresses_are_recognised(endpoint: Endpoint) -> None:
    """What identifies the server behind an address is told to routing."""
    endpoint.located(somewhere())
    assert endpoint.view().identity == ("7", 1)


def test_routing_is_told_what_is_new(clock: Clock) -> None:
    """Whatever may change the routes is told once it is known, outside the lock, and nothing else is."""
    told: list[tuple[object, ...]] = []

    def changed() -> None:
        server.describe()  # takes the lock
        view = server.view()
        told.append((server.state, view.role, view.identity))

    server = make(changed=changed)
    steps: list[Any] = [
        lambda: server.learn(True, False),
        server.connected,
        lambda: server.located(somewhere()),
        server.overdue,
        server.answered,
        lambda: refuse(server),
        server.drain,
    ]
    for step in steps:
        step()
        step()
    assert told == [
        ("unknown", "standby", None),
        ("up", "standby", None),
        ("up", "standby", ("7", 1)),
        ("silent", "standby", ("7", 1)),
        ("up", "standby", ("7", 1)),
        ("down", "standby", ("7", 1)),
        ("drained", "standby", ("7", 1)),
    ]


def test_words_for_what_it_is_and_does(endpoint: Endpoint, clock: Clock) -> None:
    """The description names a role that is known, and an attempt to connect that takes long."""
    become(endpoint, "up").learn(True, False)
    assert endpoint.describe() == "db1:5432 up (standby)"
    refuse(endpoint, FULL)
    assert endpoint.describe() == "db1:5432 full (standby): too many clients"
    clock.now += 2.0
    assert endpoint.dial()
    clock.now += 1.5
    assert endpoint.describe() == "db1:5432 full (standby), connecting for 1.5 s: too many clients"
    endpoint.drain()
    endpoint.hang_up()
    assert endpoint.describe() == "db1:5432 drained (standby)"


@pytest.mark.contract("4.waiting.2")
def test_the_latest_error_of_several(clock: Clock) -> None:
    """Of several servers' connect errors the last one is the cause that is shown, also when that server is back."""
    servers = [make(), make(), make()]
    assert latest_error(servers) is None
    for server, failure in zip((servers[1], servers[0]), (AWAY, PASSWORD), strict=True):
        clock.now += 1.0
        refuse(server, failure)
    servers[0].connected()
    assert str(latest_error(servers)) == PASSWORD.text


# -- drained ----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.resize.1")
def test_a_drained_server_is_not_dialled(endpoint: Endpoint) -> None:
    """A drained server is left alone whatever its health is, and says that it is drained."""
    become(endpoint, "up")
    endpoint.drain()
    assert (endpoint.state, endpoint.view().drained, endpoint.dial()) == ("drained", True, False)
    refuse(endpoint, PASSWORD)
    assert endpoint.state == "drained"


@pytest.mark.contract("2.call.resize.1")
def test_a_resumed_server_is_dialled_at_once(endpoint: Endpoint) -> None:
    """A resumed server may be dialled at once, whatever failed before, and tells anew what it is."""
    become(endpoint, "up").learn(False, False)
    refuse(endpoint, PASSWORD, times=5)
    endpoint.drain()
    endpoint.resume()
    view = endpoint.view()
    assert (endpoint.state, view.drained, view.role) == ("unknown", False, "unknown")
    assert endpoint.dial()


@pytest.mark.contract("2.call.resize.1")
def test_resuming_what_was_not_drained_changes_nothing(endpoint: Endpoint) -> None:
    """A server that serves goes on serving when it is resumed though nobody had drained it."""
    become(endpoint, "up").learn(False, False)
    endpoint.located(somewhere())
    before = endpoint.view()
    endpoint.resume()
    assert endpoint.view() == before


# -- eased in ---------------------------------------------------------------------------------------------------------


@pytest.mark.contract("5.balance.1")
@pytest.mark.parametrize("way", ["down", "failed", "silent", "drained"])
def test_a_returning_server_is_eased_in(clock: Clock, way: str) -> None:
    """A server that comes back, from wherever, has a tenth of its weight at first and all of it after five seconds."""
    endpoint = make(weight=4)
    become(endpoint, "up")
    assert endpoint.view().weight == 4.0
    if way == "drained":
        endpoint.drain()
        endpoint.resume()
    elif way == "silent":
        endpoint.overdue()
    else:
        refuse(endpoint, PASSWORD if way == "failed" else AWAY)
    clock.now += 60.0
    endpoint.connected()
    weights = []
    for _ in range(5):
        weights.append(endpoint.view().weight)
        clock.now += 1.25
    assert weights == pytest.approx([0.4, 1.0, 2.0, 3.0, 4.0])
    assert endpoint.view().weight == 4.0


@pytest.mark.contract("5.balance.1")
def test_a_new_server_has_its_whole_weight(endpoint: Endpoint) -> None:
    """At the start of a process nobody is eased in, and a full server that has room again was never away."""
    endpoint.connected()
    assert endpoint.view().weight == 1.0
    refuse(endpoint, FULL)
    endpoint.connected()
    assert endpoint.view().weight == 1.0


# -- who may dial -----------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.lost.1")
@pytest.mark.parametrize("health", ["unknown", "full", "silent", "down", "failed"])
def test_one_attempt_at_a_time_until_one_succeeds(endpoint: Endpoint, clock: Clock, health: str) -> None:
    """Of a server that is not up only one attempt is under way, until it ends, however it ends."""
    become(endpoint, health)
    for end in ("hang_up", "refused", "refused: full", "refused: password"):
        clock.now += 5.0
        assert [endpoint.dial(knock=False) for _ in range(3)] == [True, False, False]
        happen(endpoint, end)
    clock.now += 5.0
    assert [endpoint.dial(knock=False) for _ in range(2)] == [True, False]
    endpoint.connected()
    assert [endpoint.dial(knock=False) for _ in range(3)] == [True, True, True]


@pytest.mark.contract("4.lost.1")
def test_nobody_dials_during_a_pause(endpoint: Endpoint, clock: Clock) -> None:
    """After a failed attempt nobody may dial until the pause is over, and then one may."""
    assert endpoint.dial()
    refuse(endpoint)
    assert not endpoint.dial()
    clock.now += endpoint.delay() + 0.001
    assert [endpoint.dial() for _ in range(2)] == [True, False]


@pytest.mark.contract("4.lost.1")
@pytest.mark.parametrize(
    ("failure", "longest"), [(AWAY, 1.4), (PASSWORD, 1.0), (FULL, 0.4), (STARTING, 0.3), (DEAF, 2.0)], ids=str
)
def test_the_longest_pause(endpoint: Endpoint, failure: ConnectFailure, longest: float) -> None:
    """Pauses grow up to a limit: short where the server says it is starting, long where nobody answers but a knock tells."""
    refuse(endpoint, failure, times=8)
    assert 0.8 * longest <= endpoint.delay() <= longest


@pytest.mark.contract("4.lost.1")
def test_who_answers_again_is_asked_again_soon(endpoint: Endpoint) -> None:
    """Where nobody listened for long, the first answer, though it is that the server is starting, shortens the pause."""
    refuse(endpoint, DEAF, times=8)
    refuse(endpoint, STARTING)
    assert endpoint.delay() <= 0.1


def test_a_pause_may_be_asked_for(endpoint: Endpoint) -> None:
    """Whoever dials in a request's own time keeps others from doing so for as long as it says."""
    endpoint.refused(OSError(), AWAY, at_least=7.0)
    assert endpoint.delay() == 7.0


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """A port at which somebody accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", port)) as server:
        yield server.getsockname()[1]


@contextmanager
def nobody() -> Iterator[int]:
    """A port at which nobody listens: it is bound, so nobody else can come to do so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.contract("4.lost.1")
def test_a_knock_ends_the_pause(clock: Clock) -> None:
    """As soon as somebody listens again one attempt is allowed, though the pause is not over."""
    with nobody() as port:
        endpoint = make(host="127.0.0.1", port=port)
        refuse(endpoint, DEAF, times=8)
        assert not endpoint.dial()
    with listening(port):
        assert endpoint.delay() > 1.0
        assert not endpoint.dial(knock=False)
        assert [endpoint.dial() for _ in range(2)] == [True, False]
        refuse(endpoint, DEAF)
        assert endpoint.dial()


@pytest.mark.contract("4.lost.1")
def test_a_knock_at_a_unix_socket(clock: Clock, tmp_path: Path) -> None:
    """The same holds for a server's Unix socket."""
    endpoint = make(host=str(tmp_path), port=5499)
    refuse(endpoint, DEAF, times=8)
    assert not endpoint.dial()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5499"))
        server.listen()
        assert endpoint.dial()


def test_a_knock_only_where_nobody_answered(clock: Clock) -> None:
    """A server that answered, with a refusal, is left alone for the whole pause; so is one that is being dialled or drained."""
    with listening() as port:
        endpoint = make(host="127.0.0.1", port=port)
        for failure in (AWAY, FULL, STARTING, PASSWORD):
            refuse(endpoint, DEAF)
            refuse(endpoint, failure)
            assert not endpoint.dial()
        refuse(endpoint, DEAF)
        assert [endpoint.dial() for _ in range(2)] == [True, False]
        refuse(endpoint, DEAF)
        endpoint.drain()
        assert not endpoint.dial()
