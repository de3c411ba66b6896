"""The server with TLS; secrets, and who listens for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.security.authority import Authority
from tests.security.encrypted import EncryptedServer, tls_binaries
from tests.security.planted import LOGIN, PASSWORD, Ears
from tests.servers import Fleet, Server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def shared_tls(fleet: Fleet, authority: Authority) -> EncryptedServer:
    folder = tls_binaries()
    return fleet.shared(lambda key: EncryptedServer(folder, authority), "tls")


@pytest.fixture
def tls(shared_tls: EncryptedServer) -> Iterator[EncryptedServer]:
    """A server with TLS, which a test may freeze and restart, and whose certificate it may exchange."""
    yield shared_tls
    shared_tls.thaw()
    if not shared_tls.running:
        shared_tls.start()
    shared_tls.present(shared_tls.authority.good)


@pytest.fixture(scope="module")
def vault(server: Server) -> Iterator[Server]:
    """The shared server, and a role whose password is a secret of this module."""
    connection = server.admin(dbname="postgres")
    connection.cursor().execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD %s", (PASSWORD,))
    connection.close()
    yield server
    server.sql(f"DROP ROLE {LOGIN}")


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture) -> Iterator[Ears]:
    """What is said from now on; the log's records are added at the end of the test, and nothing may be found."""
    caplog.set_level(logging.DEBUG)
    heard = Ears()
    yield heard
    records = caplog.get_records("setup") + caplog.get_records("call")
    heard.said += [f"{vars(each)} {each.getMessage()} {each.exc_text}" for each in records]
    assert heard.said
    assert heard.found() == set()
