"""``stats``, ``explain`` and ``check`` of a real pool."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

import pgdbpool
from tests.servers import PASSWORD, Server, eventually

GROUP_KEYS = set("connection_count in_use idle opening waiting checkouts timeouts errors wait hold".split())
ENDPOINT_KEYS = set("role state lag_seconds lag_bytes connections connects last_error".split())


def label(server: Server) -> str:
    return f"{server.host}:{server.port}"


# -- stats -------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.stats.1")
def test_the_keys(make_pool: Any, server: Server) -> None:
    """The figures have the names of the contract, per group and per endpoint, before and after any use and when closed."""
    pool = make_pool({**server.config(), "groups": {name: {"connection_count": 2} for name in ("a", "b")}})
    for step in (lambda: None, lambda: pool.query("SELECT 1"), pool.close):
        step()
        stats = pool.stats()
        assert list(stats["groups"]) == ["a", "b"]
        assert list(stats["endpoints"]) == [label(server)]
        for figures in stats["groups"].values():
            assert set(figures) >= GROUP_KEYS
            assert isinstance(figures["wait"], dict)
            assert isinstance(figures["hold"], dict)
        assert set(stats["endpoints"][label(server)]) >= ENDPOINT_KEYS


@pytest.mark.contract("2.call.stats.1")
def test_json(make_pool: Any, server: Server) -> None:
    """The figures are JSON, without NaN or infinity, also of a pool that cannot connect; no password is in them."""
    good, bad = make_pool(), make_pool(server.config({"timeout": 0.2}, **{"pass": "wrong one"}))
    good.query("SELECT 1")
    with pytest.raises(pgdbpool.DBOfflineError):
        bad.query("SELECT 1")
    for pool in (good, bad):
        text = json.dumps(pool.stats(), allow_nan=False)
        assert PASSWORD not in text
        assert "wrong one" not in text
    assert "authentication" in bad.stats()["endpoints"][label(server)]["last_error"]


@pytest.mark.contract("2.call.stats.1")
def test_what_is_counted(make_pool: Any, server: Server) -> None:
    """Connections in use and idle, checkouts, waiting threads and timeouts are counted as they happen."""
    pool = make_pool(connection_count=2)
    read = lambda: pool.stats()["groups"]["web"]  # noqa: E731
    for _ in range(3):
        pool.query("SELECT 1")
    assert (read()["connection_count"], read()["in_use"], read()["checkouts"]) == (2, 0, 3)
    with pool.handler() as db, pool.handler():
        db.query("SELECT 1")
        assert (read()["in_use"], read()["idle"], read()["checkouts"]) == (2, 0, 5)
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                pool.query("SELECT 1", timeout=0.3)
            except pgdbpool.PoolTimeout as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert eventually(lambda: read()["waiting"] == 1, 0.25)
        thread.join()
        assert (len(caught), read()["waiting"], read()["timeouts"]) == (1, 0, 1)
    assert eventually(lambda: read()["in_use"] == 0 and read()["idle"] == 2)
    endpoint = pool.stats()["endpoints"][label(server)]
    assert (endpoint["state"], endpoint["connections"], endpoint["last_error"]) == ("up", 2, None)
    assert endpoint["connects"] >= 2
    assert eventually(lambda: pool.stats()["endpoints"][label(server)]["role"] == "primary")


@pytest.mark.contract("2.call.stats.1")
def test_consistent_under_load(make_pool: Any) -> None:
    """At no moment do the figures of a group contradict each other."""
    pool, stop, errors = make_pool(connection_count=3), threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                pool.query("SELECT pg_sleep(0.002)")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    seen, last = [], 0
    try:
        while len(seen) < 500 or (seen[-1]["in_use"] < 3 and len(seen) < 50_000):
            figures = pool.stats()["groups"]["web"]
            seen.append(figures)
            assert 0 <= figures["in_use"] + figures["idle"] + figures["opening"] <= 3
            assert 0 <= figures["waiting"] <= 6
            assert figures["checkouts"] >= last
            last = figures["checkouts"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert max(figures["in_use"] for figures in seen) == 3


# -- explain -----------------------------------------------------------------------------------------------------------


def plan_of(make_pool: Any, server: Server, workers: int | None = None, **words: Any) -> str:
    groups = {"web": {"connection_count": 8}, "reports": {"connection_count": 2}}
    return str(make_pool({**server.config(), "groups": groups, **words}).explain(workers))


@pytest.mark.contract("2.call.explain.1")
def test_connections_per_server(make_pool: Any, server: Server) -> None:
    """It says how many connections a server gets: workers times the groups' counts and the monitor's."""
    text = plan_of(make_pool, server, 4)
    assert re.search(r"4 workers × \(8 'web' \+ 2 'reports' \+ 1 monitor = 11\) = 44 connections", text), text
    assert label(server) in text


@pytest.mark.contract("2.call.explain.2")
def test_where_the_workers_come_from(make_pool: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are the argument, else WEB_CONCURRENCY, else it says "per process"."""
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert "= 33 connections" in plan_of(make_pool, server)
    assert "= 22 connections" in plan_of(make_pool, server, 2)
    for text in ("", "x", "0"):
        monkeypatch.setenv("WEB_CONCURRENCY", text)
        assert "per process" in plan_of(make_pool, server)
    monkeypatch.delenv("WEB_CONCURRENCY")
    text = plan_of(make_pool, server)
    assert "per process" in text
    assert "11" in text


@pytest.mark.contract("2.call.explain.1", "4.no-thread-waits.3")
def test_silent_servers(make_pool: Any, server: Server) -> None:
    """It says how many seconds a silent server goes unnoticed, with and without threads."""
    assert re.search(r"silent server .* [1-9]\d*(\.\d+)? s\b", plan_of(make_pool, server))
    assert re.search(r"silent server .* 30 s\b", plan_of(make_pool, server, type="non-threaded"))


@pytest.mark.contract("2.call.explain.1")
@pytest.mark.parametrize(
    ("group", "name"),
    [
        ({"max_idle": 100, "max_lifetime": 50}, "max_idle"),
        ({"timeout": 1}, "connect_timeout"),
        ({"hold_warning": 90, "idle_in_transaction_timeout": 60}, "hold_warning"),
    ],
)
def test_limits_that_never_fire(make_pool: Any, server: Server, group: dict[str, Any], name: str) -> None:
    """It names the timeouts that can never fire, and no other plan speaks of them."""
    assert re.search(rf"{name}.* never fires", make_pool(**group).explain())
    assert not re.search(rf"{name}.* never fires", make_pool().explain())


@pytest.mark.contract("2.call.explain.1")
def test_nothing_secret(make_pool: Any, server: Server) -> None:
    """No password and no DSN is in the plan."""
    assert PASSWORD not in plan_of(make_pool, server)
    dsn = f"postgresql://web:{PASSWORD.replace(' ', '%20')}@{server.host}:{server.port}/shop"
    text = make_pool({"db": {"dsn": dsn}, "groups": {"web": {"connection_count": 1}}}).explain()
    assert PASSWORD not in text
    assert "postgresql://" not in text
    assert "%20" not in text


# -- check -------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.check.1")
def test_a_good_endpoint(make_pool: Any, server: Server) -> None:
    """Of a good endpoint it tells role, version and round trip, and leaves no connection behind."""
    pool = make_pool()
    pool.query("SELECT 1")
    before = len(server.sessions())
    answer = pool.check()[label(server)]
    assert (answer["ok"], answer["role"], answer["error"]) == (True, "primary", None)
    assert str(answer["server_version"]).startswith(str(server.version // 10000))
    assert 0 < answer["round_trip"] < 1
    assert json.dumps(answer)
    assert eventually(lambda: len(server.sessions()) <= before + 1)  # the monitor's own may have come meanwhile


@pytest.mark.contract("2.call.check.1")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pass": "wrong one"}, "password"),
        ({"name": "no_such_db"}, "does not exist"),
        ({"port": 1}, "refused"),
        ({"host": "no-such-host.invalid"}, "host name"),
        ({"user": "nobody_here"}, "authentication|does not exist"),
    ],
)
def test_a_bad_endpoint(make_pool: Any, server: Server, wrong: dict[str, Any], words: str) -> None:
    """Of a bad endpoint it tells what is wrong, in the server's words, without a password; it raises nothing."""
    answer = make_pool(server.config(label="bad", **wrong)).check()["bad"]
    assert (answer["ok"], answer["role"], answer["round_trip"]) == (False, None, None)
    assert re.search(words, answer["error"]), answer
    assert "wrong one" not in answer["error"]
    assert PASSWORD not in answer["error"]


@pytest.mark.contract("2.call.check.1")
def test_of_a_closed_pool(make_pool: Any, server: Server) -> None:
    """After ``close`` it still answers and raises nothing."""
    pool = make_pool()
    pool.close()
    assert pool.check()[label(server)]["ok"] in (True, False)


@pytest.mark.contract("2.call.check.1")
def test_its_connection_is_its_own(make_pool: Any, server: Server) -> None:
    """It works while all connections of the groups are in use, and takes none of them."""
    pool = make_pool(connection_count=1)
    with pool.handler() as db:
        db.query("SELECT 1")
        assert pool.check()[label(server)]["ok"] is True
        assert pool.stats()["groups"]["web"]["in_use"] == 1
