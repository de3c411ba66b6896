"""TLS from the handshake on: who is believed, what is told where somebody is not, and what changes while the pool runs."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import pgdbpool
from pgdbpool import DBOfflineError, PoolTimeout
from tests.life import Crowd, full, outcome, outcomes, pids_of, warm
from tests.security.authority import HOST, Authority
from tests.security.encrypted import CERTIFIED, PLAIN, EncryptedServer
from tests.servers import DATABASE, PASSWORD, ROLE, Server, eventually

pytestmark = pytest.mark.contract("3.endpoint.ssl.1")

ALL_ENCRYPTED = {"pgdbpool:web": True, "pgdbpool:monitor": True}


@pytest.fixture(autouse=True)
def no_files_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """libpq finds none of the developer's own certificates."""
    monkeypatch.setenv("HOME", str(tmp_path))


def by_keys(tls: EncryptedServer) -> dict[str, Any]:
    return tls.endpoint()


def by_libpq(tls: EncryptedServer) -> dict[str, Any]:
    """With the keywords that have no key of their own."""
    return tls.endpoint(libpq={"channel_binding": "require", "ssl_min_protocol_version": "TLSv1.3"})


def by_dsn(tls: EncryptedServer) -> dict[str, Any]:
    place = f"host={HOST} hostaddr={tls.host} port={tls.port} dbname={DATABASE} user={ROLE} password='{PASSWORD}'"
    return {"dsn": f"{place} sslmode=verify-full sslrootcert='{tls.authority.root}'"}


def by_uri(tls: EncryptedServer) -> dict[str, Any]:
    verified = f"hostaddr={tls.host}&sslmode=verify-full&sslrootcert={quote(str(tls.authority.root), safe='')}"
    return {"dsn": f"postgresql://{ROLE}@{HOST}:{tls.port}/{DATABASE}?{verified}", "pass": PASSWORD}


@pytest.mark.contract("3.endpoint.dsn.1", "3.endpoint.libpq.1")
@pytest.mark.parametrize("said", [by_keys, by_libpq, by_dsn, by_uri])
@pytest.mark.parametrize("kind", ["threaded", "non-threaded"])
def test_verified_by_name(tls: EncryptedServer, make_pool: Callable[..., Any], said: Any, kind: str) -> None:
    """``verify-full`` with an own CA, wherever it is said: every session is encrypted, the monitor's too."""
    pool = make_pool({"type": kind, "db": said(tls), "groups": {"web": {"connection_count": 2}}})
    assert len(set(warm(pool, 2))) == 2
    threaded = kind == "threaded"
    assert eventually(lambda: tls.encrypted() == {name: True for name in ALL_ENCRYPTED if threaded or "web" in name})
    assert next(iter(pool.check().values()))["ok"]


NO_TLS, WITH_TLS = "pg_hba.conf entry.* no encryption", "pg_hba.conf entry.* SSL encryption"
MODES = {  # what comes of it where only TLS is let in, and where only plain text is
    "disable": (NO_TLS, False),
    "allow": (True, False),
    "prefer": (True, False),
    "require": (True, WITH_TLS),
    "verify-ca": (True, WITH_TLS),
    "verify-full": (True, WITH_TLS),
}


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize("mode", list(MODES))
def test_each_mode(tls: EncryptedServer, make_pool: Callable[..., Any], mode: str) -> None:
    """libpq's six modes, where the server insists on TLS and where it refuses it: encrypted, plain, or told at once why."""
    for name, expected in zip((DATABASE, PLAIN), MODES[mode], strict=True):
        pool = make_pool(tls.config({"connection_count": 1, "timeout": 20}, ssl=mode, name=name))
        if isinstance(expected, bool):
            assert pool.query("SELECT 1").scalar() == 1
            assert eventually(lambda expected=expected: tls.encrypted() == dict.fromkeys(ALL_ENCRYPTED, expected))
        else:
            told_at_once(pool, expected)
        pool.close()
        assert eventually(lambda: tls.encrypted() == {})


def told_at_once(pool: Any, words: str) -> DBOfflineError:
    """Every request fails long before its ``timeout``, in libpq's words; the error of the last one."""
    told = outcomes(4, lambda _: pool.query("SELECT 1"), limit=8.0)
    with pytest.raises(DBOfflineError, match=words) as caught:
        pool.query("SELECT 1")
    assert {type(each.error) for each in told} == {DBOfflineError}
    assert max(each.seconds for each in told) < 3.0
    return caught.value


BAD = {
    "expired": "certificate verify failed",
    "another name": f'server certificate for "elsewhere.test" does not match host name "{HOST}"',
    "unknown CA": "certificate verify failed",
}


@pytest.mark.contract("4.waiting.2", "4.lost.1", "2.call.init.3")
@pytest.mark.parametrize("what", list(BAD))
def test_a_certificate_that_is_not_believed(tls: EncryptedServer, make_pool: Callable[..., Any], what: str) -> None:
    """Told at once by ``query`` and ``init``, dialled at most once a second, and found mended within about a second."""
    tls.present(tls.authority.bad[what])
    config = tls.config({"connection_count": 4, "timeout": 20})
    waited = outcome(lambda: pgdbpool.init(config, wait=20))
    assert type(waited.error) is PoolTimeout
    assert BAD[what] in str(waited.error)
    assert waited.seconds < 2.0
    dialled, since = tls.attempts(), time.monotonic()
    pool = make_pool(config)
    told_at_once(pool, BAD[what])
    while time.monotonic() - since < 1.3:
        assert fails(pool)
    assert tls.attempts() - dialled <= 1 + time.monotonic() - since
    tls.present(tls.authority.good)
    mended = time.monotonic()
    assert eventually(lambda: not fails(pool), 3.0)
    assert time.monotonic() - mended < 1.7
    assert full(pool, 4)


def fails(pool: Any) -> bool:
    return isinstance(outcome(pool.query, "SELECT 1").error, DBOfflineError)


@pytest.mark.contract("4.lost.1")
def test_certificates_exchanged_under_load(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """Sessions outlive the exchange of the certificate; a bad one stops the growth and nothing else, until a good one comes."""
    pool = make_pool(tls.config({"connection_count": 3, "min_connections": 3}))
    before = set(warm(pool, 3))
    with Crowd(lambda: pool.query("SELECT 1"), 6) as crowd:
        tls.present(tls.authority.bad["expired"])
        crowd.goes_on()
        assert set(pids_of(tls)) == before
        lost = before.pop()
        tls.sql("SELECT pg_terminate_backend(%s, 5000)", (lost,))
        assert eventually(lambda: "certificate verify failed" in (pool.stats()["endpoints"]["tls"]["last_error"] or ""))
        crowd.goes_on()
        time.sleep(1.2)  # the monitor's next probe, and another attempt in vain
        crowd.goes_on()
        assert set(pids_of(tls)) == before
        tls.present(tls.authority.good)
        assert eventually(lambda: len(pids_of(tls)) == 3, 3.0)
    assert len(crowd.errors) <= 1  # the one that was in flight on the terminated session
    assert {type(error) for error in crowd.errors} <= {pgdbpool.DBConnectionError}
    assert full(pool, 3)
    assert before < set(pids_of(tls))


NOT_BELIEVED: dict[str, tuple[Callable[[Authority], dict[str, Any]], str]] = {
    "another CA": (lambda own: {"sslrootcert": str(own.strange_root)}, "certificate verify failed"),
    "require, which verifies where it has a CA": (
        lambda own: {"ssl": "require", "sslrootcert": str(own.strange_root)},
        "certificate verify failed",
    ),
    "the system's CAs": (lambda own: {"sslrootcert": "system"}, "certificate verify failed"),
    "no file of CAs": (lambda own: {"sslrootcert": "/nowhere/ca.crt"}, 'file "/nowhere/ca.crt" does not exist'),
    "another host name": (lambda own: {"host": "other.test"}, 'does not match host name "other.test"'),
    "no host name": (lambda own: {"host": None}, "host name must be specified for a verified SSL connection"),
    "no protocol in common": (
        lambda own: {"libpq": {"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}},
        "SSL error",
    ),
}


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize("what", list(NOT_BELIEVED))
def test_a_client_that_does_not_believe(tls: EncryptedServer, make_pool: Callable[..., Any], what: str) -> None:
    """What the client's configuration rules out is told at once, in libpq's words."""
    wrong, words = NOT_BELIEVED[what]
    told_at_once(make_pool(tls.config({"timeout": 20}, **wrong(tls.authority))), words)


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"ssl": "require"}, "server does not support SSL, but SSL was required"),
        ({"ssl": "verify-full"}, "server does not support SSL, but SSL was required"),
        ({"libpq": {"channel_binding": "require"}}, "channel binding required, but SSL not in use"),
    ],
)
def test_a_server_without_tls(
    server: Server, authority: Authority, make_pool: Callable[..., Any], wanted: dict[str, Any], words: str
) -> None:
    """Where TLS is asked for and the server has none, that is told at once, and nobody is let in without."""
    if wanted.get("ssl") == "verify-full":
        wanted = {**wanted, "sslrootcert": str(authority.root)}
    told_at_once(make_pool(server.config({"timeout": 20}, **wanted)), words)
    assert server.sessions("pgdbpool:%") == []


def test_a_server_known_to_the_system(
    tls: EncryptedServer, make_pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sslrootcert: system`` takes the CAs that OpenSSL knows."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.root))
    pool = make_pool(tls.config(sslrootcert="system"))
    assert pool.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar() is True


def test_a_bad_certificate_leaves_the_other_server(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """Of two addresses one is not believed: requests are served by the other, and none fails."""
    config = tls.config({"connection_count": 2, "target": "any", "timeout": 20})
    config["db"] = [tls.endpoint(host="other.test", label="wrong"), tls.endpoint()]
    pool = make_pool(config)
    with Crowd(lambda: pool.query("SELECT 1"), 4) as crowd:
        assert eventually(lambda: pool.stats()["endpoints"]["wrong"]["state"] == "failed")
        crowd.goes_on()
    assert crowd.errors == []


# -- the client's own certificate -------------------------------------------------------------------------------------


def everything_said(pool: Any, caplog: pytest.LogCaptureFixture, error: BaseException | None = None) -> str:
    """All that the pool shows of itself, and of an error."""
    shown = [pool, pool.stats(), pool.explain(), pool.check(), caplog.text]
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__
    return " ".join(map(str, shown))


def test_a_client_certificate(
    tls: EncryptedServer, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """``clientcert=verify-full``: the pool shows its certificate; where its key lies, it says nowhere."""
    mine = tls.authority.client(ROLE)
    with caplog.at_level(logging.DEBUG):
        pool = make_pool(tls.config({"connection_count": 2}, name=CERTIFIED, **mine))
        warm(pool, 2)
        assert eventually(lambda: tls.encrypted() == ALL_ENCRYPTED)
        name = pool.query("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar()
        said = everything_said(pool, caplog)
    assert name.endswith(f"CN={ROLE}")
    assert mine["sslkey"] not in said


def altered(certificate: dict[str, str], what: str) -> dict[str, str]:
    """With an open, missing or foreign key, or none."""
    key = Path(certificate["sslkey"])
    if what == "open key":
        key.chmod(0o644)
    elif what == "missing key":
        key.unlink()
    elif what == "foreign key":
        key.write_text(Path(certificate["sslcert"]).with_name("other-True.key").read_text())
    return {} if what == "none" else certificate


OWN_FAULTS = {
    "none": "requires a valid client certificate",
    "open key": 'private key file "{key}" has group or world access',
    "missing key": 'certificate present, but not private key file "{key}"',
    "foreign key": 'could not load private key file "{key}": key values mismatch',
    "another's name": "authentication failed for user",
    "unknown CA": "alert unknown ca",
}


@pytest.mark.contract("4.waiting.2", "3.p1.5")
@pytest.mark.parametrize("what", list(OWN_FAULTS))
def test_a_client_certificate_that_will_not_do(
    tls: EncryptedServer, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Told at once in libpq's or the server's words; where it lies is told only by libpq, and no key ever."""
    other = tls.authority.client("other")
    mine = other if what == "another's name" else tls.authority.client(ROLE, known=what != "unknown CA")
    secret = Path(mine["sslkey"]).read_text()
    with caplog.at_level(logging.DEBUG):
        pool = make_pool(tls.config({"timeout": 20}, name=CERTIFIED, **altered(mine, what)))
        error = told_at_once(pool, re.escape(OWN_FAULTS[what].format(key=mine["sslkey"])))
        said = everything_said(pool, caplog, error)
    assert not any(line in said for line in [*secret.splitlines(), PASSWORD])
    assert ("{key}" in OWN_FAULTS[what]) is (mine["sslkey"] in said)
