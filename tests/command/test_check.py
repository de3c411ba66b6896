"""``pgdbpool check`` of several servers, some of which keep silent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..servers import Server
from .shell import COMMAND, INTERRUPTIBLE, environment, pgdbpool, terminal

LIMIT = 20.0  # seconds; no attempt is given up by itself meanwhile


class Mute:
    """Takes a connection and never says a word."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(15)
        self.port = int(self.listener.getsockname()[1])

    def endpoint(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "name": "shop", "connect_timeout": LIMIT}

    def accept(self) -> socket.socket:
        return self.listener.accept()[0]


@pytest.fixture
def mutes() -> Iterator[list[Mute]]:
    """Two servers that never answer."""
    made = [Mute(), Mute()]
    yield made
    for each in made:
        each.listener.close()


@pytest.fixture
def config(server: Server, mutes: list[Mute], tmp_path: Path) -> Path:
    """A configuration of the two and of one that answers, in this order."""
    # As a standby the real one would be no server for this group, which check does not care for.
    endpoints = [*(each.endpoint() for each in mutes), server.endpoint(role="standby")]
    groups = {"web": {"connection_count": 1, "target": "primary"}}
    (tmp_path / "shop.json").write_text(json.dumps({"db": endpoints, "groups": groups}))
    return tmp_path


def test_all_servers_are_asked_at_once(config: Path, mutes: list[Mute], server: Server) -> None:
    """No server waits for another's answer; the terminal tells who is awaited, and the answers come in their order."""
    with terminal("check", "shop.json", folder=config, columns=300) as screen, ExitStack() as stack:
        asked = [stack.enter_context(each.accept()) for each in mutes]  # neither has an answer yet
        screen.until(f"127.0.0.1:{mutes[0].port}: connecting for 1 s …")
        asked[0].close()
        screen.until(f"127.0.0.1:{mutes[0].port} FAILED", f"127.0.0.1:{mutes[1].port}: connecting for")
        asked[1].close()
        assert screen.end() == 1
        rows = [row for row in screen.rows if row]
        ports = [mutes[0].port, mutes[1].port, server.port]
        assert [row.split("  ")[0] for row in rows] == [f"127.0.0.1:{port}" for port in ports]
        assert "  ok  primary  PostgreSQL" in rows[2]


def test_ctrl_c(config: Path, mutes: list[Mute]) -> None:
    """Ctrl-C ends it at once with 130, while libpq still waits, and without a traceback."""
    command = [*INTERRUPTIBLE, "check", "shop.json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), cwd=config, text=True, **pipes) as process, mutes[0].accept():
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=LIMIT / 2)
    assert (process.returncode, *printed) == (130, "", "")


@pytest.mark.contract("8.p1.2")
def test_json(config: Path, mutes: list[Mute], server: Server) -> None:
    """--json has all servers in one document, in their order, and no progress is in a pipe."""
    for each in mutes:
        each.listener.close()
    done = pgdbpool("check", "shop.json", "--json", folder=config)
    answers = json.loads(done.stdout)
    assert list(answers) == [f"127.0.0.1:{port}" for port in (*(each.port for each in mutes), server.port)]
    assert [each["ok"] for each in answers.values()] == [False, False, True]
    assert (done.returncode, done.stderr) == (1, "")


def test_words_of_a_server_do_not_command_the_terminal(tmp_path: Path) -> None:
    """What stands in a server's error is shown, and not obeyed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = {"host": "127.0.0.1", "port": listener.getsockname()[1], "ssl": "disable"}
        (tmp_path / "shop.json").write_text(json.dumps({"db": endpoint, "groups": {"web": {"connection_count": 1}}}))
        command = [*COMMAND, "check", "shop.json"]
        with subprocess.Popen(command, env=environment(), cwd=tmp_path, text=True, stdout=subprocess.PIPE) as process:
            listener.settimeout(15)
            with listener.accept()[0] as client:
                client.recv(1000)
                text = b"SFATAL\0VFATAL\0C28000\0Mno\x1b[2J\x1b]0;owned\x07\0\0"
                client.sendall(b"E" + (len(text) + 4).to_bytes(4, "big") + text)
            printed = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert r"no\x1b[2J\x1b]0;owned\x07" in printed
    assert "\x1b" not in printed
