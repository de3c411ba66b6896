"""``pgdbpool top`` beside a real server: a worker of gunicorn, its pool, and what PostgreSQL says of the same connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gunicorn.test_gunicorn import Gunicorn
from tests.life import thread_of
from tests.servers import Server, eventually
from tests.usage import fresh_table

from .shell import terminal

APP = """
import json, os, time
import pgdbpool
from pgdbpool.wsgi import status_app

here = os.path.dirname(__file__)
pgdbpool.init(json.load(open(os.path.join(here, "config.json"))), wait=10)
status = status_app()


def order(number):
    with pgdbpool.transaction() as db:
        db.query("UPDATE web.stock SET n = n - 1")
        while not os.path.exists(os.path.join(here, "paid")):
            time.sleep(0.02)  # a payment that takes its time
    return number


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/pool"):
        return status({**environ, "SCRIPT_NAME": "/pool", "PATH_INFO": path.removeprefix("/pool")}, start_response)
    body = json.dumps(order(path)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
NAME = "of-the-top"  # its application_name


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Iterator[Gunicorn]:
    """A shop with two connections, whose orders wait for a file called ``paid``."""
    fresh_table(server, "stock", "n int")
    server.sql("INSERT INTO web.stock VALUES (100)")
    config = server.config({"connection_count": 2, "application_name": NAME, "timeout": 60, "query_timeout": 0})
    made = Gunicorn(
        tmp_path, {**config, "stats_dir": str(tmp_path / "stats")}, "-k", "gthread", "--threads", "8", app=APP
    )
    try:
        yield made
    finally:
        (tmp_path / "paid").touch()
        made.close()
    assert "Traceback" not in made.log()
    assert eventually(lambda: not server.sessions(NAME), 4.0)


def doing(server: Server) -> dict[str, int]:
    """The processes that serve the shop, by what they wait for."""
    asked = "SELECT wait_event, pid FROM pg_stat_activity WHERE application_name = %s AND xact_start IS NOT NULL"
    return dict(server.sql(asked, [NAME]))


@pytest.mark.contract("8.p1.2")
def test_who_holds_the_connections(server: Server, shop: Gunicorn, tmp_path: Path) -> None:
    """Who waits for whom, from a request to the line of code that is in its way, as PostgreSQL has it; and when it is over."""
    url = f"http://127.0.0.1:{shop.port}/pool/"
    label = f"{server.host}:{server.port}"
    with terminal("top", url, "--interval", "0.1", columns=300, lines=30) as screen:
        screen.until("All is well: 0 of 2 connections in use", label, "primary", "nobody holds a connection now")
        orders = [thread_of(shop.get, f"/{number}") for number in range(3)]
        assert eventually(lambda: doing(server).keys() >= {"ClientRead", "transactionid"}, 15)
        pids = doing(server)
        screen.until(
            "1 request waits for a connection of web, for ",
            ": all 2 are in use; longest held ",
            "1 connection to " + label + " waits for a lock of " + NAME,
            "idle in transaction",
            "waits for Lock: transactionid",
        )
        (idle,) = [row for row in screen.rows if f" {pids['ClientRead']} " in row and "idle in transaction" in row]
        (blocked,) = [row for row in screen.rows if "Lock: transactionid" in row]
        assert "/shop.py:12 (order)" in idle  # where it was taken
        assert "/shop.py:13 (order)" in blocked  # where the thread stands now
        assert f" {pids['transactionid']} " in blocked
        assert f"pid {pids['ClientRead']} {NAME}" in blocked
        (tmp_path / "paid").touch()
        assert [each.result(20).value for each in orders] == ["/0", "/1", "/2"]
        screen.until("All is well: 0 of 2 connections in use", "nobody holds a connection now")
        shop.close()
        screen.until("does not answer: Connection refused; asking again")
        screen.press("q")
        assert screen.end() == 0
