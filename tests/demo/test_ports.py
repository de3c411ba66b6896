"""The demo's port."""

from __future__ import annotations

import socket

import pytest

from pgdbpool.demo import ports


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
