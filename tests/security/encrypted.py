"""A real server with TLS, whose certificate can be exchanged while it runs."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.demo.cluster import Cluster, binaries
from tests.security.authority import HOST, Authority, LeafCert, write_key
from tests.servers import DATABASE, SETTINGS, VARIABLE, EmbeddedServer, eventually

CERTIFIED, PLAIN = "certified", "plain"  # databases that want a client's certificate, and that take nobody with TLS

_RULES = f"""
hostssl   {DATABASE}      all 127.0.0.1/32 scram-sha-256
hostssl   {CERTIFIED} all 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostnossl {PLAIN}     all 127.0.0.1/32 scram-sha-256
"""
_LOG = {"log_connections": "on", "log_statement": "all", "log_line_prefix": "%p "}
_TLS = {"ssl": "on", "ssl_ca_file": "root.crt"}  # certificate and key: server.crt and server.key, by default
_SSL_REQUEST = struct.pack("!II", 8, 80877103)  # PostgreSQL manual, 54.7


class EncryptedServer(EmbeddedServer):
    """The tests' database takes nobody without TLS; the log has every connection and every statement."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(Cluster(folder, settings={**SETTINGS, **_LOG}, hba=_RULES))
        self.authority = authority
        self.furnish()
        for name in (CERTIFIED, PLAIN):
            self.sql(f"CREATE DATABASE {name}")
        shutil.copy(authority.root, self.cluster.data / _TLS["ssl_ca_file"])
        self._install(authority.good)
        for name, value in _TLS.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.present(authority.good)

    def endpoint(self, **overrides: Any) -> dict[str, Any]:
        """As that of any server; verified, unless the overrides say otherwise."""
        verified = {"host": HOST, "ssl": "verify-full", "sslrootcert": str(self.authority.root), "label": "tls"}
        return super().endpoint(
            **{**verified, **overrides, "libpq": {"hostaddr": self.host, **overrides.get("libpq", {})}}
        )

    def present(self, certificate: LeafCert) -> None:
        """Exchange the certificate as an administrator would, and return when new sessions see it."""
        self._install(certificate)
        self.sql("SELECT pg_reload_conf()")
        shown = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        assert eventually(lambda: self._presented() == shown), "the server goes on showing another certificate"

    def _install(self, certificate: LeafCert) -> None:
        data = self.cluster.data
        write_key(certificate, data / "server.key")
        certificate.cert_chain_pems[0].write_to_path(data / "server.crt")
        for name in ("server.key", "server.crt", _TLS["ssl_ca_file"]):
            os.chown(data / name, data.stat().st_uid, data.stat().st_gid)

    def _presented(self) -> bytes | None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((self.host, self.port), 5) as raw:
            raw.sendall(_SSL_REQUEST)
            if raw.recv(1) != b"S":
                return None
            with context.wrap_socket(raw) as session:
                return session.getpeercert(binary_form=True)

    def log(self, *words: str) -> list[str]:
        """The lines of its log that have all these words."""
        lines = self.cluster.log.read_text(errors="replace").splitlines()
        return [line for line in lines if all(word in line for word in words)]

    def attempts(self) -> int:
        """How often somebody has connected over TCP so far, also in vain."""
        return len(self.log("connection received: host=127.0.0.1"))

    def encrypted(self) -> dict[str, bool]:
        """By their names, whether all sessions of pools are encrypted."""
        text = (
            "SELECT application_name, bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name LIKE 'pgdbpool:%' GROUP BY 1"
        )
        return dict(self.sql(text))  # type: ignore[arg-type]


def tls_binaries() -> Path:
    """Of a server with TLS; without one the test is skipped, or fails where ``PGDBPOOL_TEST_TLS`` is ``required``."""
    if (folder := _at_hand()) is not None:
        return folder
    words = (
        f"no PostgreSQL with TLS at hand (the wheels' have none): apt install postgresql, or {VARIABLE}=its bin folder"
    )
    if os.environ.get("PGDBPOOL_TEST_TLS") == "required":
        pytest.fail(words)
    pytest.skip(words)


@cache
def _at_hand() -> Path | None:
    """Where the chosen folder, or else the newest server with TLS, is."""
    chosen = os.environ.get(VARIABLE, "")
    folders = [*([Path(chosen)] if os.sep in chosen else []), *binaries().values()]
    return next((folder for folder in folders if _has_tls(folder)), None)


def _has_tls(folder: Path) -> bool:
    """``-C`` starts no server; it refuses the setting where the build has no TLS."""
    asked = subprocess.run([folder / "postgres", "-C", "ssl", "-c", "ssl=on"], capture_output=True, text=True, cwd="/")
    return "SSL is not supported" not in asked.stderr
