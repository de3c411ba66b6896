"""The demo's port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pgdbpool.demo import ports
from tests.demo.test_account import acting_as


def test_the_preferred_port_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a port asked for, a taken 8080 is replaced by a free one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(ports, "PREFERRED", server.getsockname()[1])
        with ports.listen(None) as found:
            assert found.getsockname()[1] != ports.PREFERRED


def test_an_explicit_port_does_not() -> None:
    """A port that was asked for is taken as it is, or not at all."""
    with ports.listen(0) as found:
        with pytest.raises(ports.PortTaken, match=r"--port 0 takes a free one"):
            ports.listen(found.getsockname()[1])
        assert found.getsockname()[0] == "127.0.0.1"


def test_a_port_that_nobody_holds() -> None:
    """Who holds it cannot be told then."""
    with ports.listen(0) as found:
        number = found.getsockname()[1]
    assert ports.holder(number) == "another process"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_a_port_that_is_not_ours_to_take() -> None:
    """The system's words are told, where the port is not taken but refused."""
    allowed = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if allowed.exists() and int(allowed.read_text()) <= 1:
        pytest.skip("every account may take any port here: sysctl net.ipv4.ip_unprivileged_port_start=1024")
    with acting_as(65534), pytest.raises(ports.PortTaken, match=r"port 1 .* cannot be used: Permission denied"):
        ports.listen(1)
