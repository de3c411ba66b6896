"""Everything at once: a primary and two standbys that go, return, freeze and change places while 16 threads work."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from tests.life import Crowd, ticking
from tests.servers import ROLE, Server, eventually
from tests.several import WHO, Replicas, answering, is_known, writers
from tests.usage import fresh_table, rows_of

DURATION = 12.0
INSERT = f"INSERT INTO {ROLE}.ledger VALUES (%s)"


class Ledger:
    """Writes numbers by three ways, notes which are there for sure and which perhaps, and reads in between."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._numbers = itertools.count(1)
        self.certain: list[int] = []
        self.perhaps: list[int] = []
        self.not_read_only = 0

    def work(self) -> None:
        random.choice([self._write, self._read, self._read_in_block])()

    def _write(self) -> None:
        number, pool = next(self._numbers), self._pool
        try:
            way = number % 3
            if way == 0:
                pool.query(INSERT, (number,))
            elif way == 1:
                with pool.transaction() as db:
                    db.query(INSERT, (number,))
            else:
                pool.run(lambda db: db.query(INSERT, (number,)))
            self.certain.append(number)
        except pgdbpool.InDoubt:
            self.perhaps.append(number)
            raise

    def _read(self) -> None:
        group = random.choice(["web", "reports"])
        self._pool.query(WHO, group=group, read_only=True)

    def _read_in_block(self) -> None:
        with self._pool.transaction(read_only=True) as db:
            self.not_read_only += db.query("SHOW transaction_read_only").scalar() != "on"


class Weather:
    """One bad thing after the other, by chance but repeatable. Writes are never lost by it: every switch is a planned one."""

    def __init__(self, replicas: Replicas, pool: Any, seed: int) -> None:
        self._replicas, self._pool, self._dice = replicas, pool, random.Random(seed)
        self.primary = replicas.primary

    def strikes(self) -> None:
        standbys = [server for server in self._replicas.servers if server is not self.primary]
        victim = self._dice.choice(standbys)
        kinds = [
            self._stop,
            self._freeze,
            self._drain,
            self._terminate,
            self._resize,
            self._freeze_primary,
            self._switch,
        ]
        self._dice.choice(kinds)(victim)
        time.sleep(self._dice.random() / 2)

    def _stop(self, victim: Server) -> None:
        victim.stop(self._dice.choice(["fast", "immediate"]))
        time.sleep(self._dice.random())
        victim.start()

    def _freeze(self, victim: Server) -> None:
        victim.freeze()
        time.sleep(self._dice.random() * 4)
        victim.thaw()

    def _freeze_primary(self, _: Server) -> None:
        self.primary.freeze()
        time.sleep(self._dice.random())
        self.primary.thaw()

    def _drain(self, victim: Server) -> None:
        label = self._replicas.label(victim)
        self._pool.drain(label)
        time.sleep(self._dice.random() / 2)
        self._pool.resume(label)

    def _terminate(self, victim: Server) -> None:
        victim.terminate("pgdbpool:%")
        self.primary.terminate("pgdbpool:web")

    def _resize(self, _: Server) -> None:
        self._pool.resize(self._dice.choice(["web", "reports"]), self._dice.randint(1, 5))

    def _switch(self, victim: Server) -> None:
        replicas, old = self._replicas, self.primary
        replicas.caught_up(old)
        old.stop("fast")
        victim.promote()
        for other in replicas.servers:
            if other is not victim:
                other.follow(victim)
        self.primary = victim


@pytest.mark.contract("4.a-write-that.1", "4.a-write-that.3", "5.failover.1", "4.lost.1", "2.call.resize.1")
@pytest.mark.parametrize("seed", [1])
def test_the_ledger_stays_exact(own_replicas: Replicas, make_pool: Callable[..., Any], seed: int) -> None:
    """What was acknowledged is there, what was not is not, what is in doubt is either; at the end all is as it should be."""
    fresh_table(own_replicas.primary, "ledger", "id int PRIMARY KEY")
    own_replicas.caught_up()
    config = own_replicas.config({"connection_count": 3, "timeout": 15, "max_lifetime": 3})
    config["groups"]["reports"] = {"connection_count": 2, "target": "prefer-standby", "timeout": 15}
    pool = make_pool(config)
    ledger, weather = Ledger(pool), Weather(own_replicas, pool, seed)
    with ticking() as longest, Crowd(ledger.work) as crowd:
        end = time.monotonic() + DURATION
        while time.monotonic() < end:
            weather.strikes()
        pool.resize("web", 3)
        pool.resize("reports", 2)
        crowd.goes_on(10.0)
    unexpected = [each for each in crowd.errors if not isinstance(each, pgdbpool.PoolError)]
    assert unexpected == []
    assert len(crowd.errors) < 200
    assert len(crowd.all) > 20 * len(crowd.errors)
    assert max(each.seconds for each in crowd.all) < 10.0
    assert longest() < 1.0
    assert ledger.not_read_only == 0
    rows = set(rows_of(weather.primary, "ledger"))
    assert set(ledger.certain) - rows == set()
    assert rows - set(ledger.certain) - set(ledger.perhaps) == set()
    assert_as_before(own_replicas, pool, weather.primary)


def assert_as_before(replicas: Replicas, pool: Any, primary: Server) -> None:
    """Everything is found, nothing is lost, and nothing is held."""
    label = replicas.label(primary)
    others = set(replicas.by_label) - {label}
    assert eventually(lambda: is_known(pool), 8.0), pool.stats()
    assert writers(pool) == {label}
    assert eventually(lambda: answering(pool, read_only=True) == others, 8.0)
    assert eventually(lambda: all(each["in_use"] == 0 for each in pool.stats()["groups"].values()))
    for server in replicas.servers:
        assert len(server.sessions("pgdbpool:web")) <= 3
        assert len(server.sessions("pgdbpool:reports")) <= 2
