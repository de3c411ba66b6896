"""Credentials that change, expire, or do not come: ``pass`` as a callable (contract §3)."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgdbpool import DBOfflineError
from tests.life import Crowd, full, in_child, outcomes
from tests.servers import PASSWORD, ROLE, Server, eventually
from tests.several import Several, answering, is_known, state, who

pytestmark = pytest.mark.contract("3.endpoint.pass.1")

STALE = "expired long ago"


class Vault:
    """A source of passwords: ``answers`` in turn, the last one again and again; it may raise or hang."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []
        self._open = threading.Event()
        self._open.set()

    def __call__(self) -> Any:
        self.asked.append(time.monotonic())
        assert self._open.wait(60)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


def guarded_by(vault: Vault, server: Server, **group: Any) -> dict[str, Any]:
    return server.config({"connection_count": 2, "timeout": 2, **group}, label="only", **{"pass": vault})


def test_an_expired_answer_is_asked_for_anew(
    server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """28P01 with one answer: the callable is asked once more and the new answer tried at once; nobody notices."""
    vault = Vault(STALE, PASSWORD)
    with caplog.at_level(logging.WARNING):
        pool = make_pool(guarded_by(vault, server))
        since = time.monotonic()
        assert pool.query("SELECT 1").scalar() == 1
    assert time.monotonic() - since < 0.8
    assert state(pool, "only") == "up"
    assert state(pool, "only", "last_error") is None
    assert caplog.text == ""
    assert len(vault.asked) >= 2


def test_credentials_that_expire_under_load(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """The password changes, and the callable says the old one once more after that: no request that reads fails."""
    vault = Vault(PASSWORD)
    pool = make_pool(guarded_by(vault, own_server, connection_count=3, timeout=5))
    assert full(pool, 3)
    with Crowd(lambda: pool.query("SELECT 1", read_only=True), 6) as crowd:
        for number in range(4):
            new = f"rotated {number}"
            vault.answers = [vault.answers[-1], new]
            own_server.sql(f"ALTER ROLE {ROLE} PASSWORD '{new}'")
            own_server.terminate("pgdbpool:%")
            crowd.goes_on()
    assert crowd.errors == []
    assert eventually(lambda: full(pool, 3))


def test_a_wrong_answer_is_not_tried_for_ever(own_server: Any, make_pool: Callable[..., Any]) -> None:
    """Two wrong answers: told at once; the same answer twice: the server is not even asked again; about once a second."""
    pool = make_pool(guarded_by(Vault(STALE, "wrong as well", "and this one"), own_server, timeout=20))
    [told] = outcomes(1, lambda _: pool.query("SELECT 1"))
    assert isinstance(told.error, DBOfflineError)
    assert told.seconds < 2.0
    assert "authentication failed" in str(told.error)
    pool.close()
    failures = own_server.cluster.log.read_text().count("password authentication failed")
    vault = Vault(STALE)
    pool = make_pool(guarded_by(vault, own_server, timeout=20))
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        with pytest.raises(DBOfflineError):
            pool.query("SELECT 1")
    pool.close()
    logins = own_server.cluster.log.read_text().count("password authentication failed") - failures
    assert 1 <= logins <= 4
    assert logins <= len(vault.asked) <= 2 * logins + 1


def test_a_fixed_password_is_tried_once(own_server: Any, make_pool: Callable[..., Any]) -> None:
    """A string has no other answer: one attempt is one login."""
    pool = make_pool(own_server.config({"timeout": 20}, **{"pass": "quite wrong"}))
    [told] = outcomes(1, lambda _: pool.query("SELECT 1"))
    pool.close()
    assert isinstance(told.error, DBOfflineError)
    assert own_server.cluster.log.read_text().count("password authentication failed") == 1


@pytest.mark.contract("4.waiting.1")
def test_a_callable_that_raises_for_one_of_three(
    three_servers: Several, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The others go on; ``stats()`` and the log say what class was raised and not what it says; it is mended by itself."""
    vault = Vault(RuntimeError(f"the secret is {PASSWORD}"))
    pool = make_pool(three_servers.config({"target": "any"}, each={"two": {"pass": vault}}))
    with caplog.at_level(logging.DEBUG), Crowd(lambda: who(pool), 6) as crowd:
        crowd.goes_on()
        assert eventually(lambda: state(pool, "two") == "down")
        time.sleep(0.5)
    assert crowd.errors == []
    assert {each.value for each in crowd.all} == {"one", "three"}
    assert "RuntimeError" in state(pool, "two", "last_error")
    assert "RuntimeError" in pool.check()["two"]["error"]
    assert PASSWORD not in f"{pool.stats()} {pool.check()} {caplog.text}"
    for label in ("one", "three"):
        pool.drain(label)
    with pytest.raises(DBOfflineError, match=r"one drained.*two down for .*RuntimeError.*three drained") as caught:
        pool.query("SELECT 1", timeout=0.3)
    assert PASSWORD not in str(caught.value)
    vault.answers = [PASSWORD]
    assert eventually(lambda: state(pool, "two") == "up", 4.0)
    assert answering(pool) == {"two"}


@pytest.mark.contract("4.waiting.1", "2.call.close.1")
def test_a_callable_that_hangs_for_one_of_three(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """The others go on as if nothing was; when the answer comes the third one serves; ``close`` does not wait for it."""
    vault = Vault(PASSWORD)
    with vault.hanging():
        pool = make_pool(three_servers.config({"target": "any"}, each={"two": {"pass": vault}}))
        with Crowd(lambda: who(pool), 6) as crowd:
            crowd.goes_on()
            time.sleep(1.5)
        assert crowd.errors == []
        assert {each.value for each in crowd.all} == {"one", "three"}
        assert max(each.seconds for each in crowd.all) < 0.5
        assert len(vault.asked) <= 2
        for label in ("one", "three"):
            pool.drain(label)
        with pytest.raises(DBOfflineError, match=r"two unknown, connecting for [1-9]\.\d s"):
            pool.query("SELECT 1", timeout=0.3)
    assert eventually(lambda: answering(pool) == {"two"}, 3.0)
    pool.resume("one")
    pool.resume("three")
    assert eventually(lambda: is_known(pool))
    three_servers.by_label["two"].terminate("pgdbpool:%")
    with vault.hanging():
        assert eventually(lambda: answering(pool) == {"one", "three"}, 3.0)
        since = time.monotonic()
        pool.close(timeout=0.5)
        assert time.monotonic() - since < 1.5


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.contract("4.fork.1")
def test_a_fork_while_a_callable_hangs(server: Server, make_pool: Callable[..., Any]) -> None:
    """A fork is not held up by it for long, and the child asks for itself."""
    vault = Vault(PASSWORD)
    parent = os.getpid()

    def password() -> Any:
        return vault() if os.getpid() == parent else PASSWORD

    with vault.hanging():
        pool = make_pool(server.config({"connection_count": 1}, label="only", **{"pass": password}))
        assert eventually(lambda: vault.asked)
        since = time.monotonic()
        assert in_child(lambda: pool.query("SELECT 1").scalar()) == 1
        assert time.monotonic() - since < 4.0
    assert full(pool, 1)


@pytest.mark.contract("4.waiting.2", "4.no-thread-waits.1")
def test_the_only_servers_callable_hangs(server: Server, make_pool: Callable[..., Any]) -> None:
    """Requests end at their ``timeout``, and the message says for how long a connect has been under way."""
    vault = Vault(PASSWORD)
    with vault.hanging():
        pool = make_pool(guarded_by(vault, server, timeout=1.3))
        told = outcomes(4, lambda _: pool.query("SELECT 1"))
        assert {type(each.error) for each in told} == {DBOfflineError}
        assert all(1.3 <= each.seconds < 1.8 for each in told)
        assert "connecting for 1." in str(told[0].error)
    assert eventually(lambda: full(pool, 2))


@pytest.mark.parametrize("answer", [None, b"bytes", 7, ["list"]], ids=repr)
def test_answers_that_are_no_password(server: Server, make_pool: Callable[..., Any], answer: Any) -> None:
    """What is not a str is named by its type, never shown; the pool goes on asking."""
    vault = Vault(answer)
    pool = make_pool(guarded_by(vault, server, timeout=0.4))
    with pytest.raises(DBOfflineError, match=f"returned {type(answer).__name__}; it must return a str"):
        pool.query("SELECT 1")
    vault.answers = [PASSWORD]
    assert eventually(lambda: _answers(pool), 3.0)


def _answers(pool: Any) -> bool:
    try:
        return bool(pool.query("SELECT 1").scalar())
    except DBOfflineError:
        return False


def test_every_server_has_its_own_callable(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Each endpoint asks its own, for the pool's connections and for the probe's."""
    vaults = {label: Vault(PASSWORD) for label in three_servers.by_label}
    each = {label: {"pass": vault} for label, vault in vaults.items()}
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 1}, each=each))
    assert eventually(lambda: answering(pool) == set(vaults))
    assert eventually(lambda: all(len(vault.asked) == 2 for vault in vaults.values()))
    assert eventually(lambda: all(len(server.sessions("pgdbpool:%")) == 2 for server in three_servers.servers))
    pool.drain("two")
    asked = len(vaults["two"].asked)
    three_servers.by_label["one"].terminate("pgdbpool:%")
    assert eventually(lambda: answering(pool) and len(vaults["one"].asked) >= 4, 4.0)
    assert len(vaults["two"].asked) == asked
