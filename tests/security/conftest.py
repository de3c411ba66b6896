"""The server with TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.authority import Authority
from tests.security.encrypted import EncryptedServer, tls_binaries
from tests.servers import Fleet


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
