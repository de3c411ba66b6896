"""Where a server is, asked of the resolver and of the network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.config import EndpointOptions, parse
from pgdbpool.driver.place import addresses, is_named, listens, peer


def endpoint(**options: Any) -> EndpointOptions:
    return parse({"db": options, "groups": {"web": {"connection_count": 1}}}).endpoints[0]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"host": "db1.example"}, True),
        ({"host": "localhost"}, True),
        ({"host": "10.0.0.7"}, False),
        ({"host": "::1"}, False),
        ({"host": "fe80::1%eth0"}, False),
        ({"host": "/run/postgresql"}, False),
        ({"host": "@abstract"}, False),
        ({}, False),
        ({"dsn": "postgresql://db1/shop"}, True),
        ({"dsn": "host=10.0.0.7"}, False),
        ({"host": "db1", "libpq": {"hostaddr": "10.0.0.7"}}, False),
    ],
    ids=str,
)
def test_whose_address_may_change(options: dict[str, Any], named: bool) -> None:
    """A name's address may change; an address, a folder of a socket and what only libpq knows may not."""
    assert is_named(endpoint(**options)) is named


@pytest.mark.parametrize(("variable", "named"), [("PGHOST", True), ("PGHOSTADDR", False)])
def test_libpqs_environment_counts(monkeypatch: pytest.MonkeyPatch, variable: str, named: bool) -> None:
    """Where the configuration names no host, libpq's variables do."""
    monkeypatch.setenv(variable, "db1" if named else "10.0.0.7")
    assert is_named(endpoint()) is named


def test_the_addresses_of_a_name() -> None:
    """A name is resolved to all its addresses; one that cannot be is resolved to none, and raises nothing."""
    assert {"127.0.0.1", "::1"} & addresses(endpoint(host="localhost"))
    assert addresses(endpoint(host="127.0.0.1", port=5499)) == {"127.0.0.1"}
    assert addresses(endpoint(host="no..name")) == set()


@pytest.mark.parametrize("way", ["host and port", "dsn", "environment"])
def test_who_listens(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Somebody listens at a port if it takes connections, however it was configured; a name that leads nowhere does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if way == "environment":
            monkeypatch.setenv("PGHOST", "127.0.0.1")
            monkeypatch.setenv("PGPORT", str(port))
            there = endpoint()
        elif way == "dsn":
            there = endpoint(dsn=f"host=127.0.0.1 port={port}")
        else:
            there = endpoint(host="127.0.0.1", port=port)
        assert listens(there)
    with socket.socket() as bound:  # so that nobody else comes to listen there
        bound.bind(("127.0.0.1", 0))
        assert not listens(endpoint(host="127.0.0.1", port=bound.getsockname()[1]))
    assert not listens(endpoint(host="no..name"))


def test_who_listens_at_a_unix_socket(tmp_path: Path) -> None:
    """A folder stands for the socket in it, as libpq names it."""
    there = endpoint(host=str(tmp_path), port=5499)
    assert not listens(there)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5499"))
        assert not listens(there)
        server.listen()
        assert listens(there)


def test_nobody_knows_where() -> None:
    """Where only libpq knows the place nobody is said to listen."""
    assert not listens(endpoint())


def test_the_other_end() -> None:
    """A socket's peer is its address; that of a Unix socket has none."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert peer(client) == "127.0.0.1"
    for end in (pair := socket.socketpair()):
        assert peer(end) == ""
    for end in pair:
        end.close()
