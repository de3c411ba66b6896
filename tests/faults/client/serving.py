"""A real gunicorn in front of a pool, and requests to it."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from tests.faults.client.peers import PEERS, Peer, Setting
from tests.faults.client.trying import HUNG, by_admin, in_thread

__all__ = ["Gunicorn", "served", "within"]

_numbers = itertools.count(1)
_ROOT = Path(__file__).resolve().parents[3]


def within(seconds: float, condition: Callable[[], Any]) -> Any:
    """Ask until it holds; the last answer."""
    limit = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < limit:
        time.sleep(0.02)
    return answer


class Gunicorn:
    """gunicorn with gthread workers, each with a pool like ``peer``; its sessions have a name of their own."""

    def __init__(self, peer: Peer, setting: Setting, admin: dict[str, Any], *options: str) -> None:
        self._admin, self._name = admin, f"{setting.place['application_name']}:{next(_numbers)}"
        place = {**setting.place, "application_name": self._name}
        kind = next(name for name, each in PEERS.items() if each is type(peer))
        words = {"FAULTS_PEER": kind, "FAULTS_SETTING": json.dumps(asdict(replace(setting, place=place)))}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        settings = str(_ROOT / "pgdbpool" / "demo" / "gunicorn_settings.py")
        command = [sys.executable, "-m", "gunicorn", "-c", settings, "--bind", "127.0.0.1:0", "--log-level", "info"]
        self._arbiter = subprocess.Popen(
            [*command, *options, "tests.faults.client.wsgi:application"],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **words},
        )
        found = within(15.0, lambda: re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log()))
        if found is None:
            raise RuntimeError(self.log())
        self._port = int(found[1])

    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def get(self, key: str, seconds: float = 0.0, patience: float = 20.0) -> str:
        """The answer, after so many seconds of ``pg_sleep``."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience)
        try:
            connection.request("GET", f"/{seconds:g}/{key}")
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        return body

    def workers(self) -> set[int]:
        with suppress(psutil.Error):
            return {child.pid for child in psutil.Process(self._arbiter.pid).children()}
        return set()

    def signal(self, number: signal.Signals) -> None:
        self._arbiter.send_signal(number)

    def wait(self, seconds: float) -> None:
        self._arbiter.wait(seconds)

    def sessions(self, state: str = "%") -> set[int]:
        """The backends of its workers."""
        text = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state LIKE %s"
        return {pid for (pid,) in by_admin(self._admin, text, (self._name, state))}

    def asleep(self, count: int, seconds: float) -> list[in_thread]:
        """``count`` requests of so many seconds, all of them in mid query.

        A worker that has just begun connects while they come: the first may be answered before the last asks.
        """
        for _ in range(5):
            threads = [in_thread(self.get, str(number), seconds) for number in range(count)]
            come = lambda: len(self.sessions("active")) == count  # noqa: E731
            within(10.0, lambda: come() or all(each.outcome(0.0) is not HUNG for each in threads))  # noqa: B023
            if come():
                return threads
        raise RuntimeError(f"{len(self.sessions('active'))} of {count} requests have come to their query\n{self.log()}")

    def close(self) -> None:
        pids = [*self.workers(), self._arbiter.pid]
        if self._arbiter.poll() is None:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._arbiter.wait()
        self._log.close()


@contextmanager
def served(peer: Peer, setting: Setting, admin: dict[str, Any], *options: str) -> Iterator[Gunicorn]:
    """gunicorn until the end of the block."""
    gunicorn = Gunicorn(peer, setting, admin, *options)
    try:
        yield gunicorn
    finally:
        gunicorn.close()
