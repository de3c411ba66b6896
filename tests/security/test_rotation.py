"""Passwords that change while eight threads write: sessions go on, new ones use the new password (contract §3, `pass`)."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgdbpool import DBOfflineError, PoolTimeout
from tests.life import Crowd, full, outcomes, pids_of
from tests.servers import DATABASE, PASSWORD, ROLE, Server, eventually
from tests.several import state
from tests.usage import TABLE, fresh_table, rows_of

pytestmark = pytest.mark.contract("3.endpoint.pass.1")

THREADS = 8
FOREVER = "infinity"


class Rotation:
    """A role's password on the server, and the callable that follows it: at once, or so many answers late."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.password = PASSWORD
        self.stale: list[Any] = []  # what the callable says before it knows the new one; exceptions are raised
        self.asked = 0
        self.answering = threading.Event()
        self.answering.set()
        self._changing = (
            threading.Lock()
        )  # the old one is never told once the server has forgotten it, unless it is late

    def __call__(self) -> Any:
        self.asked += 1
        assert self.answering.wait(30)
        with self._changing:
            answer = self.stale.pop(0) if self.stale else self.password
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def rotate(self, new: str, late: int = 0, valid_until: str = FOREVER) -> None:
        """From now on the server takes the new password alone; the callable's next ``late`` answers are the old one."""
        with self._changing:
            self.server.sql(f"ALTER ROLE {ROLE} PASSWORD '{new}' VALID UNTIL '{valid_until}'")
            self.stale = [self.password] * late
            self.password = new

    def refused(self) -> int:
        """Logins that the server has refused so far."""
        return self.server.cluster.log.read_text().count("FATAL:  password authentication failed")  # type: ignore[no-any-return]


@pytest.fixture
def rotation(module_server: Server) -> Iterator[Rotation]:
    """A server of this module whose role's password may be changed; at the end it is the one of the tests again."""
    fresh_table(module_server, TABLE)
    rotation = Rotation(module_server)
    yield rotation
    rotation.rotate(PASSWORD)
    rotation.answering.set()


Making = Callable[..., Any]


def pool_of(make_pool: Making, rotation: Rotation, **group: Any) -> Any:
    """A pool of four connections, which has them and the monitor's too: nobody is just logging in."""
    group = {"connection_count": 4, "timeout": 5, **group}
    pool = make_pool(rotation.server.config(group, label="db", **{"pass": rotation}))
    assert full(pool, 4)
    assert eventually(lambda: len(rotation.server.sessions("pgdbpool:%")) == 5)
    return pool


class Writers(Crowd):
    """Eight threads that insert one row each time, by turns in autocommit and in a transaction."""

    def __init__(self, pool: Any) -> None:
        numbers = itertools.count()
        self.pool = pool

        def write() -> None:
            number = next(numbers)
            text = f"INSERT INTO {TABLE} (id) SELECT %s FROM (SELECT pg_sleep(0.005)) AS a_moment"
            if number % 2:
                pool.query(text, (number,))
            else:
                with pool.transaction() as db:
                    db.query(text, (number,))

        super().__init__(write, THREADS)

    def wrote_all(self, server: Server) -> bool:
        """Whether no request failed, and each one's row is there once."""
        assert self.errors == []
        return len(rows_of(server, TABLE)) == len(self.all)


def test_sessions_go_on_and_new_ones_follow(rotation: Rotation, make_pool: Making) -> None:
    """A new password disturbs no session; of a callable that is one answer late the old one is tried once, and no more."""
    pool = pool_of(make_pool, rotation)
    with Writers(pool) as writers:
        before, refused = set(pids_of(rotation.server)), rotation.refused()
        rotation.rotate("the second", late=1)
        writers.goes_on()
        assert set(pids_of(rotation.server)) == before
        assert rotation.refused() == refused
        pool.resize("web", 6)
        assert eventually(lambda: len(pids_of(rotation.server)) == 6)
        writers.goes_on()
        assert before < set(pids_of(rotation.server))
        assert rotation.refused() == refused + 1
        assert state(pool, "db", "last_error") is None  # the callable was asked anew at once
    assert writers.wrote_all(rotation.server)


def test_rotations_while_sessions_come_and_go(rotation: Rotation, make_pool: Making) -> None:
    """Sessions that live for a second, and five new passwords: no request fails, and at most the login under way is refused."""
    pool = pool_of(make_pool, rotation, max_lifetime=1)
    refused = rotation.refused()
    with Writers(pool) as writers:
        for number in range(5):
            rotation.rotate(f"password {number}")
            connects = state(pool, "db", "connects")
            assert eventually(lambda connects=connects: state(pool, "db", "connects") > connects + 1)
            writers.goes_on()
    assert writers.wrote_all(rotation.server)
    assert rotation.refused() - refused <= 5
    assert state(pool, "db", "last_error") is None


@pytest.mark.contract("4.waiting.1")
@pytest.mark.parametrize(
    "trouble", [RuntimeError("the vault is away"), SystemExit("and says so"), None, b"bytes", "an old one"], ids=repr
)
def test_a_callable_in_trouble(rotation: Rotation, make_pool: Making, trouble: Any) -> None:
    """Raising, answering nonsense or the old one for a while: sessions go on, who waits is served, and it grows later."""
    pool = pool_of(make_pool, rotation)
    refused = rotation.refused()
    rotation.rotate("the third")
    rotation.stale = [trouble] * 1000
    with Writers(pool) as writers:
        asked, since = rotation.asked, time.monotonic()
        pool.resize("web", 6)
        assert eventually(lambda: rotation.asked >= asked + 2)
        writers.goes_on()
        assert "pass: the callable" in state(pool, "db", "last_error") or trouble == "an old one"
        wasted = rotation.refused() - refused
        assert wasted <= 2 + time.monotonic() - since  # about one a second
        assert 2 * wasted <= rotation.asked - asked + 1  # asked anew, it says the same: that is not even tried
        rotation.stale = []
        assert eventually(lambda: len(pids_of(rotation.server)) == 6)
        writers.goes_on()
    assert writers.wrote_all(rotation.server)


@pytest.mark.contract("4.waiting.1", "4.no-thread-waits.1")
def test_a_callable_that_hangs(rotation: Rotation, make_pool: Making) -> None:
    """While it hangs sessions go on, and who finds none waits for no longer than ``timeout``; then all is as before."""
    pool = pool_of(make_pool, rotation, timeout=1)
    rotation.answering.clear()
    rotation.rotate("the fourth")
    with Writers(pool) as writers:
        pool.resize("web", 6)
        asked = rotation.asked
        assert eventually(lambda: rotation.asked > asked)
        writers.goes_on()
        assert len(pids_of(rotation.server)) == 4
    assert writers.wrote_all(rotation.server)
    rotation.server.terminate("pgdbpool:web")
    told = outcomes(THREADS, lambda _: pool.query("SELECT 1"))
    assert {type(each.error) for each in told} <= {DBOfflineError, PoolTimeout}  # the server itself is up
    assert all(", connecting for " in str(each.error) for each in told)
    assert max(each.seconds for each in told) < 2.0
    rotation.answering.set()
    assert eventually(lambda: full(pool, 6))


def test_a_password_that_expires(rotation: Rotation, make_pool: Making) -> None:
    """After ``VALID UNTIL`` sessions go on and logins are refused, which is told at once; a renewed one is found by itself."""
    pool = pool_of(make_pool, rotation)
    with Writers(pool) as writers:
        rotation.rotate("the fifth", valid_until="2001-02-03")
        pool.resize("web", 6)
        assert eventually(lambda: "authentication failed" in str(state(pool, "db", "last_error")))
        writers.goes_on()
    assert writers.wrote_all(rotation.server)
    rotation.server.terminate("pgdbpool:web")
    told = outcomes(THREADS, lambda _: pool.query("SELECT 1"))
    assert {type(each.error) for each in told} <= {DBOfflineError}
    assert max(each.seconds for each in told) < 3.0
    assert not any("the fifth" in f"{each.error} {each.error!r}" for each in told)
    rotation.rotate("the sixth")
    assert eventually(lambda: served(pool), 3.0)
    assert eventually(lambda: full(pool, 6))


def served(pool: Any) -> bool:
    try:
        return bool(pool.query("SELECT 1").scalar())
    except DBOfflineError:
        return False


@pytest.mark.parametrize("kind", ["passfile", "service file"])
def test_a_file_is_read_at_each_connect(
    rotation: Rotation, make_pool: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """libpq's own files follow too, where they are rewritten before the old sessions are gone."""
    endpoint, file = rotation.server.endpoint(label="db"), tmp_path / "file"
    del endpoint["pass"]
    place = f"[shop]\nhost={endpoint['host']}\nport={endpoint['port']}\ndbname={DATABASE}\nuser={ROLE}\npassword="
    if kind == "passfile":
        endpoint["libpq"], front = {"passfile": str(file)}, "*:*:*:*:"
    else:
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        endpoint, front = {"dsn": "service=shop"}, place
    file.touch(mode=0o600)
    file.write_text(front + PASSWORD)
    pool = make_pool({"db": endpoint, "groups": {"web": {"connection_count": 2}}})
    assert full(pool, 2)
    rotation.rotate("the seventh")
    file.write_text(front + "the seventh")
    rotation.server.terminate("pgdbpool:web")
    assert eventually(lambda: served(pool))
    assert full(pool, 2)
