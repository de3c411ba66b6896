"""Over two gunicorn workers: whichever serves a client's next request, it sees what the last one wrote (contract §5, §6)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from benchmarks.pairs import Client, Pair
from tests.gunicorn.test_gunicorn import Gunicorn
from tests.life import outcomes
from tests.servers import eventually
from tests.several import Replicas
from tests.usage import fresh_table
from tests.web.test_middleware import STANDBYS

APP = """
import json, os, pgdbpool
from pgdbpool.wsgi import Middleware
config = json.load(open(os.path.join(os.path.dirname(__file__), "config.json")))
pgdbpool.init(config["pool"], wait=10)


def application(environ, start_response):
    _, kind, number = environ["PATH_INFO"].split("/")
    if kind == "write":
        pgdbpool.query("INSERT INTO web.pairs VALUES (%s)", (int(number),))
    elif kind == "transfer":
        with pgdbpool.transaction() as db:
            db.query("INSERT INTO web.pairs VALUES (%s)", (int(number),))
    sql = "SELECT count(*), current_setting('cluster_name') FROM web.pairs WHERE id = %s"
    body = [] if kind in ("write", "transfer") else list(pgdbpool.query(sql, (int(number),)).one())
    answer = json.dumps([os.getpid(), *body]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


application = Middleware(application, secret=config["secret"])
"""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(module_replicas: Replicas) -> Replicas:
    fresh_table(module_replicas.primary, "pairs", "id int PRIMARY KEY")
    module_replicas.caught_up()
    return module_replicas


@pytest.fixture(scope="module")
def port(cluster: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Two workers, which have found out that the read may run on standbys."""
    config = {"pool": cluster.config({"connection_count": 8}), "secret": "of the tests"}
    options = ["-k", "gthread", "--workers", "2", "--threads", "8"]
    gunicorn = Gunicorn(tmp_path_factory.mktemp("pairs"), config, *options, app=APP)
    try:
        read: dict[int, set[str]] = {}

        def both_read_from_both() -> bool:
            for each in outcomes(8, lambda _: Client(gunicorn.port).get("/read/0")):
                pid, _, server = each.value
                read.setdefault(pid, set()).add(server)
            return len(read) == 2 and all(servers >= STANDBYS for servers in read.values())

        assert eventually(both_read_from_both, 30.0), gunicorn.log()
        yield gunicorn.port
    finally:
        gunicorn.close()
    assert "Traceback" not in gunicorn.log()
    assert eventually(lambda: not cluster.primary.sessions("pgdbpool:%"), 4.0)


def pairs(port: int, kind: str, count: int, *, keeps: bool = True, between: Any = lambda cookie: None) -> list[Pair]:
    """So many writes by each of eight clients, each followed by a read of what was written."""

    def client(_: int) -> list[Pair]:
        browser, found = Client(port), []
        for _ in range(count):
            [writer] = browser.get(f"/{kind}/{(number := next(numbers))}")
            between(browser.cookie)
            browser.cookie = browser.cookie if keeps else ""
            reader, seen, server = browser.get(f"/read/{number}")
            found.append(Pair(writer, reader, seen == 1, server))
        return found

    done = outcomes(8, client, 50.0)
    assert [each.error for each in done] == [None] * 8
    return [pair for each in done for pair in each.value]


def set_delay(cluster: Replicas, value: str) -> None:
    for server in cluster.standbys:
        server.sql(f"ALTER SYSTEM SET recovery_min_apply_delay = '{value}'")
        server.sql("SELECT pg_reload_conf()")
        assert eventually(lambda server=server: server.sql("SHOW recovery_min_apply_delay") == [(value,)])


@pytest.mark.contract("5.read-your-own.2")
@pytest.mark.parametrize("kind", ["write", "transfer"])
def test_standbys_200_ms_behind(cluster: Replicas, port: int, kind: str) -> None:
    """No client that keeps the cookie reads an old state, also where another worker serves it; those that do not keep it do."""
    set_delay(cluster, "200ms")
    try:
        found = pairs(port, kind, 15)
        assert [pair for pair in found if not pair.seen] == []
        assert len({pair.writer for pair in found} | {pair.reader for pair in found}) == 2
        assert any(pair.writer != pair.reader for pair in found)
        assert any(not pair.seen for pair in pairs(port, kind, 3, keeps=False))
    finally:
        set_delay(cluster, "0")
        cluster.caught_up()


@pytest.mark.contract("5.read-your-own.2")
def test_standbys_that_have_caught_up(cluster: Replicas, port: int) -> None:
    """Once the standbys have replayed it the read goes to one of them, nearly always: 95 of 100 on a quiet machine."""
    standbys = [psycopg2.connect(**server.dsn(application_name="observer")) for server in cluster.standbys]
    for connection in standbys:
        connection.autocommit = True

    def replayed(cookie: str) -> None:
        position = int(cookie.split("-")[3], 16)
        for connection in standbys:  # libpq's lock lets one thread at a time ask
            assert eventually(lambda connection=connection: _replayed(connection) >= position)

    try:
        found = pairs(port, "transfer", 60, between=replayed)
    finally:
        for connection in standbys:
            connection.close()
    assert [pair for pair in found if not pair.seen] == []
    there = sum(pair.server in STANDBYS for pair in found)
    assert there >= 0.85 * len(found), f"{there} of {len(found)}"


def _replayed(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])
