"""gunicorn, one worker of sixteen threads on eight connections, driven from another process."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import app
from benchmarks.report import Figure, Goal, Row, pairwise, quartiles
from benchmarks.rounds import in_turns
from benchmarks.server import Server
from pgdbpool.demo import processes

__all__ = ["drive", "gunicorn", "measure"]

ROUNDS = 25
_THREADS = 16
_SECONDS = 1.0
_FIGURES = {"rate": "/s", "median": "ms", "p99": "ms", "worst": "ms"}
_WORDS = {"rate": "requests", "median": "median answer", "p99": "99 % of the answers within", "worst": "longest answer"}


def measure(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        ports = {}
        for name in (app.POOLED, app.DEDICATED):
            environment = {app.APP: name, app.DSN: server.dsn}
            ports[name] = stack.enter_context(gunicorn("benchmarks.app:make()", environment, threads=_THREADS))
        results = in_turns({name: partial(drive, port) for name, port in ports.items()}, rounds or ROUNDS)
    return _row(results)


def _row(results: dict[str, list[dict[str, float]]]) -> Row:
    figures = [
        Figure(f"{name}: {_WORDS[what]}", [each[what] for each in found], unit)
        for name, found in results.items()
        for what, unit in _FIGURES.items()
    ]
    rates = {name: [each["rate"] for each in found] for name, found in results.items()}
    theirs = rates[app.DEDICATED]
    spread = 1 - quartiles(theirs)[0] / median(theirs)
    return Row(
        title=f"gunicorn, 1 worker × {_THREADS} threads, {app.CONNECTIONS} connections, one primary-key read a request",
        how=f"{len(theirs)} rounds of {_SECONDS:g} s each, {_THREADS} keep-alive clients in a process of their own",
        figures=figures,
        goals=[
            Goal("requests × a dedicated connection per thread", pairwise(rates[app.POOLED], theirs), 1 - spread, True)
        ],
        notes=[f"the run's spread is from the median to the lower quartile of the dedicated connections: {spread:.1%}"],
    )


@contextmanager
def gunicorn(application: str, environment: dict[str, str], *, workers: int = 1, threads: int) -> Iterator[int]:
    """gunicorn with the application in processes of its own; yields its port. It ends with the block, or with us."""
    folder = tempfile.mkdtemp(prefix="pgdbpool-bench-")
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(processes.Watcher(Path(folder))) as watcher:
        port = int(listener.getsockname()[1])
        child = subprocess.Popen(
            [*_command(application, listener.fileno(), workers, threads), "--worker-tmp-dir", folder],
            env={**os.environ, **environment, "GUNICORN_CMD_ARGS": ""},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        watcher.add(child.pid)
        try:
            _wait(child, port)
            yield port
        finally:
            processes.end(child.pid, 3.0)
            child.wait()
            watcher.remove(child.pid)


def _command(application: str, listener: int, workers: int, threads: int) -> list[str]:
    # Without -c a gunicorn.conf.py of whoever's folder this is would be read.
    options = ["-c", "python:benchmarks.gunicorn_settings", "--bind", f"fd://{listener}"]
    sizes = ["--workers", str(workers), "--worker-class", "gthread", "--threads", str(threads)]
    return [sys.executable, "-m", "gunicorn", application, *options, *sizes]


def _wait(child: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < limit:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/1")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError("gunicorn does not serve the application; what it says of that is on standard error")


def drive(port: int, seconds: float = _SECONDS) -> dict[str, float]:
    """Load for so many seconds; requests a second, and how long they took, in ms."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(_THREADS), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
