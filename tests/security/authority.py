"""A certificate authority of the tests' own, and the files of what it issued."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from trustme import CA, LeafCert

__all__ = ["HOST", "Authority", "LeafCert", "write_key"]

HOST = "db.test"  # whom the good certificate is for; no resolver knows it, so its address is given beside it


class Authority:
    """A CA that clients and servers trust by the file ``root``, and ``stranger``, which nobody trusts.

    ``good`` is a certificate for the server, ``bad`` are others by what is wrong with them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca, self._stranger = CA(), CA()
        self.root, self.strange_root = folder / "root.crt", folder / "stranger.crt"
        self._ca.cert_pem.write_to_path(self.root)
        self._stranger.cert_pem.write_to_path(self.strange_root)
        now = datetime.now(timezone.utc)
        self.good = self._ca.issue_cert(HOST)
        self.bad = {
            "expired": self._ca.issue_cert(HOST, not_before=now - timedelta(2), not_after=now - timedelta(1)),
            "another name": self._ca.issue_cert("elsewhere.test"),
            "unknown CA": self._stranger.issue_cert(HOST),
        }

    def client(self, name: str, *, known: bool = True) -> dict[str, str]:
        """A client's certificate and private key, in files of their own, as the keys of an endpoint."""
        issued = (self._ca if known else self._stranger).issue_cert(common_name=name)
        certificate, key = (self._folder / f"{name}-{known}.{kind}" for kind in ("crt", "key"))
        issued.cert_chain_pems[0].write_to_path(certificate)
        write_key(issued, key)
        return {"sslcert": str(certificate), "sslkey": str(key)}


def write_key(certificate: LeafCert, path: Path) -> None:
    """Its private key, readable by the owner alone: libpq and PostgreSQL ask for that."""
    path.touch()
    path.chmod(0o600)
    certificate.private_key_pem.write_to_path(path)
