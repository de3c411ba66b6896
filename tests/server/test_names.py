"""A host name whose address changes is followed without waiting for ``max_lifetime`` (contract §3 and §4).

The names are those of a process of its own, in a mount namespace with files of its own in place of /etc/hosts and
/etc/nsswitch.conf.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.demo.cluster import Cluster
from pgdbpool.engine.names import PERIOD
from tests.faults.names import Names, why_not
from tests.life import pids_of
from tests.servers import SETTINGS, EmbeddedServer, Fleet, at_hand, eventually
from tests.several import WHO, Several

NAME = "database.of-the-tests"
OFTEN = 0.5  # seconds between two looks at the names, where it is no matter how long that is
OLD, NEW = "127.0.0.1", "127.0.0.2"

CHILD = f'''
import json, logging, sys, pgdbpool, pgdbpool.engine.names
pgdbpool.engine.names.PERIOD = float(sys.argv[1])
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
names = {{"pgdbpool": pgdbpool, "pool": pgdbpool.Pool(eval(sys.stdin.readline()))}}
names["who"] = lambda **options: names["pool"].query("""{WHO}""", **options).scalar()
for line in sys.stdin:
    try:
        answer = exec(line[1:], names) if line.startswith("!") else eval(line, names)
    except Exception as error:
        answer = f"{{type(error).__name__}}: {{error}}"
    print(json.dumps(answer), flush=True)
names["pool"].close(1)
'''


pytestmark = [
    pytest.mark.contract("4.lost.1"),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


class Elsewhere:
    """A process with a pool and with names of its own. ``ask`` evaluates there, ``do`` executes."""

    def __init__(self, folder: Path, config: dict[str, Any], period: float) -> None:
        self._names = Names(NAME, OLD)
        self.point = self._names.point
        self.errors = folder / "errors"
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(
                [*self._names.command, sys.executable, "-c", CHILD, str(period)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._say(repr(config))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def ask(self, expression: str) -> Any:
        assert self._process.stdout is not None
        self._say(expression)
        answer = self._process.stdout.readline()
        assert answer, self.errors.read_text()
        return json.loads(answer)

    def do(self, statement: str) -> None:
        assert self.ask(f"!{statement}") is None

    def close(self) -> None:
        self._process.communicate(timeout=15)
        self._names.close()


def two(key: str) -> Several:
    """Two servers on one port, each at an address of its own."""
    with ExitStack() as started:
        servers: dict[str, EmbeddedServer] = {}
        for label, address in (("old", OLD), ("new", NEW)):
            settings = {**SETTINGS, "cluster_name": label, "listen_addresses": address}
            cluster = Cluster(at_hand()[key], settings=settings)
            if servers:
                cluster.port = servers["old"].port
            servers[label] = EmbeddedServer(cluster)
            started.callback(servers[label].close)
            servers[label].furnish()
        started.pop_all()
    return Several(servers)


@pytest.fixture(scope="module")
def pair(fleet: Fleet, server_key: str) -> Iterator[Several]:
    """``old`` at the first address and ``new`` at the second."""
    with fleet.own(two, server_key) as made:
        yield made


@pytest.fixture
def elsewhere(pair: Several, tmp_path: Path) -> Iterator[Callable[..., Elsewhere]]:
    """Starts a process whose pool knows the server by its name only."""
    started: list[Elsewhere] = []

    def start(period: float = OFTEN, **group: Any) -> Elsewhere:
        config = pair.servers[0].config(
            {"connection_count": 3, "min_connections": 2, **group}, host=NAME, label="named"
        )
        started.append(Elsewhere(tmp_path, config, period))
        assert eventually(lambda: started[-1].ask("who()") == "old")
        assert eventually(lambda: len(pair.servers[0].sessions("pgdbpool:%")) == 3)  # the probe's among them
        return started[-1]

    yield start
    for each in started:
        each.close()
    pair.repair()


def test_a_change_of_address_is_followed(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """Within some six seconds, without an error: all connections lead to the new address, and the probe's too."""
    process = elsewhere(PERIOD)
    old, new = pair.servers
    process.point(NEW)
    since = time.monotonic()
    answers = []
    while time.monotonic() < since + 9 and answers[-20:] != ["new"] * 20:
        answers.append(process.ask("who()"))
        time.sleep(0.02)
    assert set(answers) == {"old", "new"}
    assert time.monotonic() - since < 8.0
    assert eventually(lambda: old.sessions("pgdbpool:%") == [], 8.0), old.sessions()
    assert len(new.sessions("pgdbpool:web")) >= 2
    assert "now; " in process.errors.read_text()


def test_without_traffic(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """An idle pool moves too."""
    process = elsewhere()
    process.point(NEW)
    assert eventually(lambda: pids_of(pair.servers[0]) == [] and len(pids_of(pair.servers[1])) >= 2, 10.0)
    assert process.ask("who()") == "new"


def test_what_is_borrowed_stays_until_it_comes_back(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """A block that is under way ends on the old address; then that connection is replaced as well."""
    process = elsewhere()
    process.do("block = pool.handler(); db = block.__enter__(); db.query('BEGIN')")
    assert process.ask(f"db.query({WHO!r}).scalar()") == "old"
    process.point(NEW)
    assert eventually(lambda: process.ask("who()") == "new", 9.0)
    time.sleep(1.0)
    assert process.ask(f"db.query({WHO!r}).scalar()") == "old"
    process.do("block.__exit__(None, None, None)")
    assert eventually(lambda: pids_of(pair.servers[0]) == [], 5.0)
    assert {process.ask("who()") for _ in range(10)} == {"new"}


def test_no_answer_changes_nothing(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """A name that leads nowhere for a while says nothing of the server: the connections stay."""
    process = elsewhere()
    before = pids_of(pair.servers[0])
    process.point()
    time.sleep(5 * OFTEN)
    assert {process.ask("who()") for _ in range(10)} == {"old"}
    assert set(pids_of(pair.servers[0])) >= set(before)
    assert process.ask("pool.stats()['endpoints']['named']['state']") == "up"


def test_a_second_address_changes_nothing(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """As long as the old address is among the answers, its connections stay."""
    process = elsewhere()
    before = pids_of(pair.servers[0])
    process.point(NEW, OLD)
    time.sleep(5 * OFTEN)
    assert set(pids_of(pair.servers[0])) >= set(before)


def test_the_old_server_may_do_what_it_likes(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """After the change the old server freezes: no connection to the new one is cut, and no request is slow or fails."""
    process = elsewhere()
    process.point(NEW)
    assert eventually(lambda: process.ask("who()") == "new" and pids_of(pair.servers[0]) == [], 10.0)
    backends = set(pids_of(pair.servers[1]))
    pair.servers[0].freeze()
    since = time.monotonic()
    while time.monotonic() < since + 4.5:
        asked = time.monotonic()
        assert process.ask("who()") == "new"
        assert time.monotonic() - asked < 0.5
        assert process.ask("pool.stats()['endpoints']['named']['state']") == "up"
        time.sleep(0.05)
    assert backends <= set(pids_of(pair.servers[1]))


def test_the_old_server_is_gone_at_once(pair: Several, elsewhere: Callable[..., Elsewhere]) -> None:
    """A failover by name: the old server dies as the name changes; the next requests reach the new one."""
    process = elsewhere(timeout=10)
    process.point(NEW)
    pair.servers[0].kill9()
    since = time.monotonic()
    assert eventually(lambda: process.ask("who(read_only=True)") == "new", 4.0)
    assert time.monotonic() - since < 2.0
    assert process.ask("pool.stats()['endpoints']['named']['state']") == "up"
