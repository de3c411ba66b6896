"""``/metrics`` of several gunicorn workers: whichever answers, it is one service that is counted (contract §6)."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from tests.gunicorn.test_gunicorn import Gunicorn
from tests.life import Crowd
from tests.servers import Server, eventually
from tests.web.test_metrics import GROUP, STATE, Scrape

APP = """
import json, os, pgdbpool
from wsgiref.util import shift_path_info
from pgdbpool.wsgi import status_app
pgdbpool.init(json.load(open(os.path.join(os.path.dirname(__file__), "config.json"))))
status = status_app()


def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/pool/"):
        shift_path_info(environ)
        return status(environ, start_response)
    answer = json.dumps(pgdbpool.query("SELECT pg_backend_pid() FROM pg_sleep(0.002)").scalar()).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""
WORKERS = 3


@pytest.fixture(scope="module")
def gunicorn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    config = server.config({"connection_count": 2, "application_name": "gunicorn-web"})
    options = ["-k", "gthread", "--workers", str(WORKERS), "--threads", "4"]
    gunicorn = Gunicorn(tmp_path_factory.mktemp("metrics"), config, *options, app=APP)
    try:
        assert eventually(lambda: scrape(gunicorn)("pgdbpool_workers") == WORKERS, 20.0), gunicorn.log()
        yield gunicorn
    finally:
        gunicorn.close()
    assert "Traceback" not in gunicorn.log()


def scrape(gunicorn: Gunicorn) -> Scrape:
    """Of a new connection, which any of the workers may take."""
    with closing(http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=10)) as connection:
        connection.request("GET", "/pool/metrics")
        answer = connection.getresponse()
        body = answer.read()
    assert answer.status == 200, body
    return Scrape(body.decode())


def fallen(before: dict[Any, float], now: dict[Any, float]) -> list[Any]:
    """What has gone down since."""
    return [(name, value, now.get(name)) for name, value in before.items() if now.get(name, -1) < value]


@pytest.mark.contract("6.status_app.2")
def test_all_workers_are_summed(gunicorn: Gunicorn) -> None:
    """Whichever of them answers: every request that was served is counted, once."""
    before = scrape(gunicorn)("pgdbpool_checkouts_total", **{GROUP: "web"})
    with Crowd(lambda: gunicorn.get("/work"), 6) as crowd:
        eventually(lambda: len(crowd.all) > 60)
    assert crowd.errors == []

    def all_are_told() -> bool:
        gunicorn.get("/pool/stats.json")  # while somebody looks, all workers tell often
        return scrape(gunicorn)("pgdbpool_checkouts_total") == before + len(crowd.all)

    assert eventually(all_are_told, 15.0)
    seen = [scrape(gunicorn) for _ in range(2 * WORKERS)]
    assert {each("pgdbpool_checkouts_total") for each in seen} == {before + len(crowd.all)}
    assert {each("db_client_operation_duration_seconds_count") for each in seen} == {before + len(crowd.all)}
    assert {each("db_client_connection_max") for each in seen} == {2 * WORKERS}
    assert {each("pgdbpool_workers_summed") for each in seen} == {1}


@pytest.mark.contract("6.status_app.2")
def test_no_number_goes_down(gunicorn: Gunicorn) -> None:
    """From one worker's answer to the next one's counters only grow, under load, and when a worker is killed."""
    last = [scrape(gunicorn).growing()]

    def only_grows() -> bool:
        now = scrape(gunicorn).growing()
        assert fallen(last[0], now) == []
        last[:] = [now]
        return False

    def work() -> None:
        with suppress(OSError, http.client.HTTPException):  # of the worker that is killed
            gunicorn.get("/work")

    with Crowd(work, 6):
        eventually(only_grows, 1.0)
        os.kill(min(gunicorn.workers()), signal.SIGKILL)
        eventually(only_grows, 1.5)
    assert eventually(lambda: only_grows() or scrape(gunicorn)("pgdbpool_workers") == WORKERS, 20.0)


def test_clients_that_never_read(gunicorn: Gunicorn) -> None:
    """Many who ask for everything and read nothing hold no connection of the pool and keep nobody from being served."""
    with ExitStack() as stack:
        for path in ("stats.json", "metrics", "uPlot.iife.min.js", "") * 10:
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.connect(("127.0.0.1", gunicorn.port))
            deaf.sendall(f"GET /pool/{path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        for _ in range(4 * WORKERS):
            assert gunicorn.get("/work") > 0
        assert eventually(lambda: scrape(gunicorn)("db_client_connection_count", **{STATE: "used"}) == 0, 10.0)
