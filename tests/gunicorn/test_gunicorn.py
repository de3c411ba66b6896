"""Under gunicorn: sync and gthread workers, with and without ``--preload``, reloads, ends and worker timeouts (contract §6)."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.life import Outcome, outcome, outcomes, thread_of
from tests.servers import Server, eventually

NAME = "gunicorn-%"
APP = """
import json, os, pgdbpool
pgdbpool.init(json.load(open(os.path.join(os.path.dirname(__file__), "config.json"))))
if {warm}:
    pgdbpool.query("SELECT 1")


def application(environ, start_response):
    _, kind, number = environ["PATH_INFO"].split("/")
    if kind == "sleep":
        answer = pgdbpool.query("SELECT %s FROM pg_sleep(%s)", (number, float(number))).scalar()
    elif kind == "hold":
        with pgdbpool.transaction() as db:
            db.query("SELECT set_config('custom.number', %s, true)", (number,))
            answer = db.query("SELECT current_setting('custom.number') FROM pg_sleep(0.01)").scalar()
    else:
        answer = pgdbpool.query("SELECT %s", (number,)).scalar()
    pid = pgdbpool.query("SELECT pg_backend_pid()").scalar()
    body = json.dumps([answer, os.getpid(), pid]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Gunicorn:
    """A gunicorn with the application above, or another one, on a free port."""

    def __init__(self, folder: Path, config: dict[str, Any], *options: str, warm: bool = False, app: str = APP) -> None:
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "shop.py").write_text(app.replace("{warm}", str(warm)))
        # newer ones make a socket in the home directory
        (folder / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
        command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", *options]
        self._log = folder / "log"
        root = str(Path(__file__).resolve().parents[2])
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "shop:application"], cwd=folder, stderr=log, env={**os.environ, "PYTHONPATH": root}
            )
        found = eventually(lambda: re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log()), 30.0)
        if not found:
            self.close()
        assert found, self.log()
        self.port = int(found.group(1))

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """The answer to a GET: [what was asked for, the worker's pid, the backend's pid]."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, body
        return json.loads(body)

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                for pid in [*self.workers(), self.process.pid]:
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()


KINDS = {
    "sync": ["-k", "sync", "--workers", "3"],
    "sync preload": ["-k", "sync", "--workers", "3", "--preload"],
    "gthread": ["-k", "gthread", "--workers", "2", "--threads", "8"],
    "gthread preload": ["-k", "gthread", "--workers", "2", "--threads", "8", "--preload"],
}


@pytest.fixture
def serve(tmp_path: Path, module_server: Server) -> Iterator[Callable[..., Gunicorn]]:
    """Starts a gunicorn; at the end it is gone, and so are its sessions."""
    started: list[Gunicorn] = []

    def start(*options: str, warm: bool = False, **group: Any) -> Gunicorn:
        group = {"connection_count": 3, "application_name": "gunicorn-web", **group}
        started.append(Gunicorn(tmp_path, module_server.config(group), *options, warm=warm))
        return started[-1]

    yield start
    for gunicorn in started:
        gunicorn.close()
    assert eventually(lambda: not sessions(module_server), 4.0)


def sessions(server: Server) -> list[Any]:
    return [each for each in server.sessions("%") if each.application_name.startswith(("gunicorn-", "pgdbpool"))]


@pytest.mark.contract("6.gunicorn-sync-gthread.1", "4.fork.1", "4.fork.2")
@pytest.mark.parametrize("kind", list(KINDS))
def test_served_right_reloaded_and_ended(serve: Callable[..., Gunicorn], module_server: Server, kind: str) -> None:
    """300 requests get their own answers; SIGHUP and SIGTERM in mid request lose none; 1 s later no session is left."""
    gunicorn = serve(*KINDS[kind], warm=True, connection_count=8)

    def ask(number: int) -> int:
        wrong = 0
        for step in range(25):
            mine = f"{number}.{step}"
            wrong += gunicorn.get(f"/{'hold' if step % 2 else 'plain'}/{mine}")[0] != mine
        return wrong

    assert [(each.value, each.error) for each in outcomes(12, ask, 20.0)] == [(0, None)] * 12
    before = gunicorn.workers()
    count = 3 if "sync" in kind else 8

    def in_flight() -> list[thread_of]:
        threads = [thread_of(gunicorn.get, "/sleep/0.7") for _ in range(count)]
        asleep = lambda: sum("pg_sleep" in each.query and each.state == "active" for each in sessions(module_server))  # noqa: E731
        assert eventually(lambda: asleep() == count)
        return threads

    def answers(threads: list[thread_of]) -> list[Any]:
        told: list[Outcome] = [thread.result(10.0) for thread in threads]
        return [each.error or each.value[0] for each in told]

    threads = in_flight()
    gunicorn.process.send_signal(signal.SIGHUP)
    assert answers(threads) == ["0.7"] * count
    assert eventually(lambda: len(now := gunicorn.workers()) == len(before) and not now & before, 10.0)
    assert gunicorn.get("/plain/after")[0] == "after"
    threads = in_flight()
    gunicorn.process.send_signal(signal.SIGTERM)
    assert answers(threads) == ["0.7"] * count
    gunicorn.process.wait(10)
    assert eventually(lambda: not sessions(module_server), 1.0)
    assert "Traceback" not in gunicorn.log()
    assert "Exception ignored" not in gunicorn.log()


@pytest.mark.contract("6.gunicorn-sync-gthread.1")
@pytest.mark.parametrize("kind", ["sync", pytest.param("gthread preload", marks=pytest.mark.slow)])
def test_a_worker_that_the_arbiter_kills(serve: Callable[..., Gunicorn], module_server: Server, kind: str) -> None:
    """A worker over its timeout is killed in the middle of a statement: its sessions are gone soon, the next one serves."""
    options = [*KINDS[kind], "--workers", "1", "--timeout", "1", "--graceful-timeout", "1"]
    gunicorn = serve(*options, query_timeout=0)
    _, worker, _ = gunicorn.get("/plain/1")
    if kind == "sync":
        stuck = thread_of(outcome, gunicorn.get, "/sleep/30")  # blocks the worker's only thread
    else:
        stuck = thread_of(outcome, gunicorn.get, "/sleep/30")
        assert eventually(lambda: any("pg_sleep(30" in each.query for each in sessions(module_server)))
        os.kill(worker, signal.SIGSTOP)
    assert eventually(lambda: not psutil.pid_exists(worker), 8.0), gunicorn.log()
    killed = time.monotonic()
    assert eventually(lambda: not any("pg_sleep(30" in each.query for each in sessions(module_server)), 4.0)
    assert time.monotonic() - killed < 3.5
    assert stuck.result(5.0).value.error is not None
    value, successor, _ = gunicorn.get("/plain/2")
    assert value == "2"
    assert successor != worker


@pytest.mark.contract("6.gunicorn-sync-gthread.1", "4.fork.1")
def test_preload_shares_no_session(serve: Callable[..., Gunicorn], module_server: Server) -> None:
    """With a connection made before the fork, each worker works on sessions of its own; the arbiter's stays idle."""
    gunicorn = serve(*KINDS["gthread preload"], warm=True)
    by_worker: dict[int, set[int]] = {}

    def both_have_served() -> bool:  # which of them does is up to the kernel
        for each in outcomes(16, lambda number: gunicorn.get(f"/sleep/0.{number + 10}")):
            _, worker, backend = each.value
            by_worker.setdefault(worker, set()).add(backend)
        return len(by_worker) == 2

    assert eventually(both_have_served, 10.0)
    one, two = by_worker.values()
    assert not one & two


@pytest.mark.contract("6.gunicorn-sync-gthread.1", "4.lost.1")
def test_the_server_restarts_under_gunicorn(serve: Callable[..., Gunicorn], module_server: Server) -> None:
    """All sessions terminated between requests: no request fails."""
    gunicorn = serve(*KINDS["gthread"])
    assert [each.error for each in outcomes(16, lambda number: gunicorn.get(f"/hold/{number}"))] == [None] * 16
    module_server.terminate(NAME)
    assert [each.error for each in outcomes(16, lambda number: gunicorn.get(f"/hold/{number}"))] == [None] * 16
