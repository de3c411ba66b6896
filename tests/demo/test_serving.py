"""gunicorn that does not do as it should."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from pgdbpool.demo import launch, serving
from pgdbpool.demo.signals import Signals
from tests.life import thread_of


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_one_that_never_answers() -> None:
    """It is given up after its time."""
    with subprocess.Popen(["sleep", "60"]) as server:
        with pytest.raises(serving.NotServing, match=r"did not answer within 0\.1 s"):
            serving.wait_until_it_answers(server, unused_port(), 0.1)
        server.kill()


def test_one_that_ends_instead() -> None:
    """Its status is told."""
    with subprocess.Popen(["sh", "-c", "exit 3"]) as server:
        server.wait()
        with pytest.raises(serving.NotServing, match="gunicorn ended with status 3"):
            serving.wait_until_it_answers(server, unused_port())


def test_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deaf to SIGTERM is ended by other means."""
    monkeypatch.setattr(serving.settings, "graceful_timeout", -1.9)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        serving._stop(server)
        assert server.returncode is not None


def test_without_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(serving.NotServing, match=r"pip install 'pgdbpool\[demo\]'"):
        launch._serve(*[None] * 5)  # type: ignore[arg-type]


def test_signals_are_left_alone_in_another_thread() -> None:
    """Only the main thread may set handlers: elsewhere the block changes nothing."""

    def block() -> None:
        with Signals():
            pass

    assert thread_of(block).result().error is None
