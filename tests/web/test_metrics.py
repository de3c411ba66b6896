"""``/metrics``: what it says is what the pool did, in a format that Prometheus reads (contract §6, ``doc/metrics.md``)."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

import pgdbpool
from pgdbpool.engine import current
from pgdbpool.waiting import Histogram
from pgdbpool.web.metrics import BOUNDS, exposition
from pgdbpool.wsgi import status_app
from tests.life import Crowd, thread_of
from tests.servers import Server, eventually
from tests.several import Replicas, is_known
from tests.usage import Wire
from tests.web.test_status import NOBODY, get, stats

GROUP, SERVER = "db_client_connection_pool_name", "server_address"
STATE = "db_client_connection_state"
OM = "application/openmetrics-text; version=1.0.0"
PROMETHEUS_3 = (  # what it sends
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
NUMBERS = ("counter", "histogram")


class Scrape:
    """One reading of ``/metrics``; ``scrape("name", label=value)`` is the sum of the samples that have these labels."""

    def __init__(self, text: str, parse: Any = plain) -> None:
        self.families = {family.name: family for family in parse(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        found = self.values(name, **labels)
        assert found, f"no {name} of {labels}"
        return sum(found)

    def values(self, name: str, **labels: str) -> list[float]:
        return [each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items()]

    def growing(self) -> dict[Any, float]:
        """Every number that may only grow, by its name and labels."""
        families = [each for each in self.families.values() if each.type in NUMBERS]
        return {(each.name, *sorted(each.labels.items())): each.value for one in families for each in one.samples}


def alone(config: dict[str, Any]) -> dict[str, Any]:
    """With figures that are of this process, and of this moment: those of several workers are some seconds old."""
    return {**config, "stats_dir": None}


def scrape(app: Any) -> Scrape:
    return Scrape(get(app, "/metrics").text)


def buckets(seen: Scrape, name: str, **labels: str) -> dict[float, float]:
    found = [each for each in seen.samples if each.name == f"{name}_bucket" and labels.items() <= each.labels.items()]
    return {float(each.labels["le"]): each.value for each in found}


# -- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.status_app.1")
def test_it_counts_what_was_done(make_pool: Callable[..., Any], server: Server) -> None:
    """Checkouts, statements, seconds and timeouts are those that this test has caused."""
    pool = make_pool(alone(server.config({"connection_count": 2, "min_connections": 2, "timeout": 10})))
    app, label = status_app(pool), f"{server.host}:{server.port}"
    of = {GROUP: "web", SERVER: label}
    assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == 2)
    for _ in range(9):
        pool.query("SELECT 1")
    pool.query("SELECT pg_sleep(0.2)")
    with pool.handler() as one, pool.handler():
        late = thread_of(lambda: pool.query("SELECT 1", timeout=0.1)).result()
        assert isinstance(late.error, pgdbpool.PoolTimeout)
        with pytest.raises(pgdbpool.DBQueryError):
            one.query("SELECT 1/0")
    seen = scrape(app)
    assert seen("pgdbpool_checkouts_total", **of) == 12
    assert seen("db_client_connection_timeouts_total", **{GROUP: "web"}) == 1
    assert seen("pgdbpool_connect_errors_total", **{SERVER: label}) == 0
    assert seen("db_client_connection_create_time_seconds_count", **{SERVER: label}) == 2
    assert seen("db_client_connection_wait_time_seconds_count", **{GROUP: "web"}) == 13  # one of them in vain
    assert 0.1 <= seen("db_client_connection_wait_time_seconds_sum", **{GROUP: "web"}) < 2
    waited = buckets(seen, "db_client_connection_wait_time_seconds", **{GROUP: "web"})
    assert (min(waited.values()), max(waited.values())) == (12, 13)
    assert seen("db_client_connection_use_time_seconds_count", **of) == 12
    assert 0.4 < seen("db_client_connection_use_time_seconds_sum", **of) < 5
    operations = "db_client_operation_duration_seconds"
    assert seen(f"{operations}_count", db_system_name="postgresql", **of) == 11
    assert 0.2 < seen(f"{operations}_sum", **of) < 5
    assert buckets(seen, operations, **of)[0.1] <= 10 < buckets(seen, operations, **of)[float("inf")] == 11


def test_what_is_there_now(make_pool: Callable[..., Any], server: Server) -> None:
    """Connections by state, their limits, who waits and for how long, what is held the longest."""
    pool = make_pool(alone(server.config({"connection_count": 3, "min_connections": 2, "timeout": 20})))
    app, of = status_app(pool), {GROUP: "web", SERVER: f"{server.host}:{server.port}"}
    assert eventually(lambda: scrape(app)("db_client_connection_count", **{STATE: "idle"}) == 2)
    seen = scrape(app)
    limits = [seen(f"db_client_connection_{name}", **of) for name in ("max", "idle_max", "idle_min")]
    assert (limits, seen("pgdbpool_workers"), seen("pgdbpool_ready")) == ([3, 3, 2], 1, 1)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(pool.handler())
        waiting = [thread_of(pool.query, "SELECT 1") for _ in range(4)]
        assert eventually(lambda: scrape(app)("db_client_connection_pending_requests", **{GROUP: "web"}) == 4)
        assert eventually(lambda: scrape(app)("pgdbpool_longest_held_seconds", **{GROUP: "web"}) > 0.2)
        seen = scrape(app)
        by_state = {
            state: seen("db_client_connection_count", **{STATE: state, **of}) for state in ("idle", "used", "cleaning")
        }
        assert by_state == {"idle": 0, "used": 3, "cleaning": 0}
        assert seen("pgdbpool_longest_pending_seconds") > 0
    assert [each.result().error for each in waiting] == [None] * 4
    assert eventually(lambda: scrape(app)("db_client_connection_count", **{STATE: "used"}) == 0)
    seen = scrape(app)
    assert (seen("db_client_connection_pending_requests"), seen("pgdbpool_longest_pending_seconds")) == (0, 0)
    waits = buckets(seen, "db_client_connection_wait_time_seconds")
    assert waits[float("inf")] - waits[0.001] >= 4


def test_servers(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Role, state and lag of each server; reads are counted where they went; one that is drained is not up."""
    pool = make_pool(alone(replicas.config({"connection_count": 2, "target": "prefer-standby"})))
    app = status_app(pool)
    assert eventually(lambda: is_known(pool), 15.0)
    for _ in range(12):
        pool.query("SELECT 1", read_only=True)
    seen = scrape(app)
    for label in replicas.by_label:
        role = "primary" if label == "primary" else "standby"
        assert seen("pgdbpool_server_up", **{SERVER: label}) == 1
        assert {
            each: seen("pgdbpool_server_role", role=each, **{SERVER: label}) for each in ("primary", "standby")
        } == {
            "primary": role == "primary",
            "standby": role == "standby",
        }
        assert seen("pgdbpool_server_timeline", **{SERVER: label}) >= 1
        assert bool(seen.values("pgdbpool_server_lag_bytes", **{SERVER: label})) == (role == "standby")
    assert seen("pgdbpool_reads_total") == 12
    pool.drain("standby1")
    seen = scrape(app)
    assert seen("pgdbpool_server_up", **{SERVER: "standby1"}) == 0
    states = {each.labels["state"]: each.value for each in seen.samples if _is_state_of(each, "standby1")}
    assert {state for state, value in states.items() if value} == {"drained"}


def _is_state_of(sample: Any, label: str) -> bool:
    return bool(sample.name == "pgdbpool_server_state" and sample.labels[SERVER] == label)


def test_a_server_that_is_away(server: Server, make_pool: Callable[..., Any]) -> None:
    """Down, not ready, and the attempts to connect are counted."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        app = status_app(make_pool(alone(server.config({"min_connections": 1}, port=nobody.getsockname()[1]))))
        assert eventually(lambda: scrape(app)("pgdbpool_connect_errors_total") > 0, 15.0)
        seen = scrape(app)
    assert (seen("pgdbpool_ready"), seen("pgdbpool_servable", **{GROUP: "web"}), seen("pgdbpool_server_up")) == (
        0,
        0,
        0,
    )
    assert seen("pgdbpool_server_state", state="down") == 1


def test_a_scrape_asks_no_server(make_pool: Callable[..., Any], wire: Wire) -> None:
    """It is no look at the page: while a connection is held, no server is asked who blocks whom for its sake."""
    pool = make_pool(alone(wire.config()))
    app = status_app(pool)
    with pool.handler() as db:
        db.query("SELECT 1")
        assert eventually(lambda: scrape(app)("pgdbpool_longest_held_seconds") > 2.5, 10.0)
        asked = lambda: any("pg_stat_activity" in text for _, text in wire.sent)  # noqa: E731
        assert not asked()
        assert eventually(lambda: stats(app) and asked(), 10.0)


# -- buckets ----------------------------------------------------------------------------------------------------------


UNKNOWN = ("lag_seconds", "lag_bytes", "timeline")
ENDPOINT = {"role": "primary", "state": "up", "connect_errors": 0, **dict.fromkeys(UNKNOWN)}


def test_the_buckets_are_exact() -> None:
    """Of durations drawn at random, and of the bounds themselves, each bucket holds as many as do not exceed its bound."""
    draw = random.Random(6)
    durations = [*BOUNDS, *(10 ** draw.uniform(-5, 2) for _ in range(2000))]
    measured = Histogram()
    measured.add(durations)
    timing = {"buckets": {str(number): count for number, count in measured.buckets.items()}, "seconds": sum(durations)}
    figures = {
        "alone": None,
        "workers": [],
        "holders": [],
        "groups": {},
        "endpoints": {"db": {**ENDPOINT, "connect": timing}},
    }
    seen = Scrape(exposition(figures, "")[0].decode())
    name = "db_client_connection_create_time_seconds"
    assert buckets(seen, name) == {
        **{bound: sum(each <= bound for each in durations) for bound in BOUNDS},
        float("inf"): len(durations),
    }
    assert (seen(f"{name}_count"), seen(f"{name}_sum")) == (len(durations), pytest.approx(sum(durations)))


@pytest.mark.contract("6.status_app.1")
def test_no_number_goes_down(make_pool: Callable[..., Any], server: Server) -> None:
    """Under load, while connections end and waits time out, all counters, sums and buckets only grow."""
    pool = make_pool(alone(server.config({"connection_count": 2, "timeout": 0.03, "max_lifetime": 0.3})))
    app = status_app(pool)
    work = lambda: pool.query("SELECT pg_sleep(0.01)")  # noqa: E731
    last: list[Scrape] = [scrape(app)]

    def grows() -> bool:
        """Whether enough has happened; each call is a scrape that is compared with the one before."""
        before, now = last[0].growing(), scrape(app)
        assert [name for name, value in now.growing().items() if value < before.get(name, 0)] == []
        assert before.keys() <= now.growing().keys()
        last[:] = [now]
        counts = now("db_client_connection_timeouts_total"), now("db_client_connection_create_time_seconds_count")
        return now("pgdbpool_checkouts_total") > 200 and min(counts) > 5

    with Crowd(work, 8):
        assert eventually(grows, 20.0)
    ended = last[0]("pgdbpool_checkouts_total") + last[0]("db_client_connection_timeouts_total")
    assert last[0]("db_client_connection_wait_time_seconds_count") == ended


# -- its format -------------------------------------------------------------------------------------------------------

ODD = '<b title="it\'s">\\n\\ ö 🐘</b>'


@pytest.fixture
def odd(make_pool: Callable[..., Any], server: Server) -> Any:
    """An application whose group and server are called as odd as the configuration allows."""
    group = {"connection_count": 2, "application_name": "pgdbpool odd"}
    pool = make_pool(alone({"db": server.endpoint(label=ODD), "groups": {ODD: group}}))
    pool.query("SELECT 1")
    return status_app(pool)


@pytest.mark.parametrize(
    ("accept", "parse", "kind"),
    [
        ("", plain, "text/plain; version="),
        ("*/*", plain, "text/plain; version="),
        ("text/html, text/plain;version=0.0.4", plain, "text/plain; version="),
        (OM, openmetrics, "application/openmetrics-text; version=1.0.0"),
        (PROMETHEUS_3, openmetrics, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=abc, text/plain; version=1.x", plain, "text/plain; version="),
    ],
)
def test_each_format_is_read_by_its_parser(odd: Any, accept: str, parse: Any, kind: str) -> None:
    """What the client accepts it gets; odd labels come out as they were; every family says its type and its meaning."""
    got = get(odd, "/metrics", accept=accept)
    assert got.headers["Content-Type"].startswith(kind)
    seen = Scrape(got.text, parse)
    assert seen("pgdbpool_checkouts_total", **{GROUP: ODD, SERVER: ODD}) == 1
    for family in seen.families.values():
        assert family.documentation
        assert (family.type == "unknown") == (family.name == "db_client_connection_count")
        keys = [(each.name, *sorted(each.labels.items())) for each in family.samples]
        assert len(keys) == len(set(keys))


def test_odd_labels_in_json(odd: Any) -> None:
    """The same in ``/stats.json``."""
    seen = stats(odd)
    assert (list(seen["groups"]), list(seen["groups"][ODD]["servers"]), list(seen["endpoints"])) == (
        [ODD],
        [ODD],
        [ODD],
    )


def test_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a pool it is as valid, and says that nothing is ready."""
    monkeypatch.setattr(current, "_pool", None)
    seen = scrape(NOBODY)
    assert (seen("pgdbpool_ready"), seen("pgdbpool_workers")) == (0, 0)


def test_it_shares_nothing_with_the_applications_own_metrics(odd: Any) -> None:
    """The application's global registry is not in it, and has nothing of it."""
    from prometheus_client import REGISTRY, Counter, generate_latest

    Counter("of_the_application", "Its own.", registry=REGISTRY)
    assert "of_the_application" not in get(odd, "/metrics").text
    assert b"pgdbpool" not in generate_latest(REGISTRY)
