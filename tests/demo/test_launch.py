"""``pgdbpool demo`` from the shell: contract §8."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.demo.browser import Browser
from tests.servers import eventually

ROLES = ("primary", "standby", "standby")  # of the servers that it starts, in their order


class Demo:
    """``python -m pgdbpool demo`` under way, with a temporary folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgdbpool", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        )
        self.said = ""

    def browser(self) -> Browser:
        """Read on until the address appears."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if match := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                return Browser(int(match[1]))
        raise AssertionError(self.said)

    def end(self) -> int:
        """Wait for its end; the exit status."""
        self.said += self.process.communicate(timeout=20)[0]
        return self.process.wait()

    def left(self) -> list[str]:
        """Files in its temporary folder, and processes that were told of it."""
        commands = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
        return [*os.listdir(self.folder), *(command for command in commands if str(self.folder) in command)]


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    """Starts demos: ``start("--port", "0")``."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o711)  # the server's account has to reach its folder in it
    demos: list[Demo] = []

    def one(*arguments: str) -> Demo:
        demos.append(Demo(folder, *arguments))
        return demos[-1]

    yield one
    for demo in demos:
        demo.process.kill()
        demo.process.communicate()
    eventually(lambda: os.listdir(folder) == [])  # a watcher removes what the kill left
    folder.rmdir()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody, this process, listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.contract("8.p1.1")
def test_it_serves_for_its_duration_and_leaves_nothing(start: Callable[..., Demo]) -> None:
    """``--duration 3 --port 0`` tells its progress, serves the shop from three servers, and ends with status 0."""
    demo = start("--duration", "3", "--port", "0")
    browser = demo.browser()
    first = browser.get("/")
    ports = re.findall(r"psql -h \S+ -p (\d+) ", demo.said)
    servers = "; ".join(rf"127\.0\.0\.1:{port} {role} up[^;]*" for port, role in zip(ports, ROLES, strict=True))
    shown = eventually(lambda: re.search(servers, browser.get("/").text) is not None, 2)

    assert (first.status, shown, demo.end()) == (200, True, 0)
    assert re.search(r"^ +\d+\.\d s  PostgreSQL \d+\.\d+ accepts connections", demo.said, re.MULTILINE)
    assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_all(start: Callable[..., Demo], number: signal.Signals) -> None:
    """One Ctrl-C (to the whole process group, as a terminal does) or SIGTERM ends it with status 0; nothing is left."""
    demo = start("--port", "0")
    demo.browser()
    os.killpg(demo.process.pid, number)

    assert demo.end() == 0
    assert demo.left() == []
    assert "Traceback" not in demo.said


def test_an_early_ctrl_c_leaves_nothing(start: Callable[..., Demo]) -> None:
    """A Ctrl-C while the server is still being made ends it as well."""
    demo = start("--port", "0")
    assert demo.process.stdout is not None
    demo.said = demo.process.stdout.readline()
    os.killpg(demo.process.pid, signal.SIGINT)

    assert "starting PostgreSQL" in demo.said
    assert demo.end() == 0
    assert demo.left() == []


def test_even_sigkill_leaves_nothing(start: Callable[..., Demo]) -> None:
    """When it is killed by SIGKILL, gunicorn and PostgreSQL end all the same and their folders go."""
    demo = start("--port", "0")
    browser = demo.browser()
    demo.process.kill()
    demo.end()

    assert eventually(lambda: demo.left() == [], 15)
    with pytest.raises(ConnectionRefusedError):
        browser.get("/")


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(start: Callable[..., Demo], taken: int) -> None:
    """An explicit port that is in use ends it at once with a message that says who has it."""
    demo = start("--port", str(taken))

    assert demo.end() == 1
    assert f"port {taken} on 127.0.0.1 is taken by " in demo.said
    if os.path.exists("/proc/net/tcp"):
        assert f"process {os.getpid()} (" in demo.said
    assert demo.left() == []
