"""One case under both versions, against databases of its own, and what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

from psycopg2 import sql

from pgdbpool.demo.cluster import Cluster
from tests.dialect.catalogue import ASPECTS, Case
from tests.dialect.schema import SQLPREPARE, TABLES
from tests.dialect.versions import OLD, ROOT, folder_of_old
from tests.servers import PASSWORD, ROLE, SETTINGS, at_hand, chosen, eventually

__all__ = ["Comparison", "Seen", "Stage", "compare", "stage"]


@dataclass(frozen=True)
class Seen:
    """What became of one run: each of these is compared."""

    printed: str
    raised: str | None
    committed: dict[str, list[str]]  # table -> its rows, of both servers together; what was not changed left out
    sessions: list[int]  # of the handlers, per server


@dataclass(frozen=True)
class Comparison:
    """``errors``: what both runs wrote to stderr."""

    case: Case
    old: Seen
    new: Seen
    errors: str

    def verdict(self, aspect: str) -> str:
        """``same``, or ``named`` where it differs as the case says, or ``DIFFERS`` where it does not come out so."""
        seen = (getattr(self.old, aspect), getattr(self.new, aspect))
        if (wanted := self.case.differs.get(aspect)) is not None:
            return "named" if seen == wanted else "DIFFERS"
        return "same" if seen[0] == seen[1] else "DIFFERS"

    def unexpected(self) -> list[str]:
        """What comes out otherwise than the case says."""
        found = []
        for aspect in ASPECTS:
            if self.verdict(aspect) == "DIFFERS":
                lines = [
                    f"{aspect}:",
                    f"  {OLD}: {getattr(self.old, aspect)!r}",
                    f"  now: {getattr(self.new, aspect)!r}",
                ]
                wanted = self.case.differs.get(aspect)
                found += [*lines, "  wanted: no difference" if wanted is None else f"  wanted: {wanted!r}"]
        return found


class Stage:
    """Two servers that are reached by the same port, as 1.0.2, which knows no port, has to: each by its own socket.

    Every run gets a database of its own on them, a copy of ``example``.
    """

    def __init__(self, clusters: tuple[Cluster, Cluster]) -> None:
        self.clusters = clusters
        for number, cluster in enumerate(clusters, 1):
            cluster.create_role(ROLE, PASSWORD)
            cluster.create_database("example", ROLE)
            with _admin(cluster, "example") as cursor:
                cursor.execute(SQLPREPARE + TABLES)
                cursor.execute("INSERT INTO server VALUES (%s)", (number,))
        self._before = self._rows("example")

    def databases(self, name: str) -> dict[str, str]:
        """Make databases of that name, which go with the servers; the environment by which a case finds them."""
        for cluster in self.clusters:
            text = sql.SQL("CREATE DATABASE {} TEMPLATE example OWNER {}")
            cluster.sql(text.format(sql.Identifier(name), sql.Identifier(ROLE)))
        hosts = [str(cluster.socket_dir) for cluster in self.clusters]
        place = {
            "DB_HOST": hosts[0],
            "DB_HOST_1": hosts[0],
            "DB_HOST_2": hosts[1],
            "PGPORT": str(self.clusters[0].port),
        }
        return {**place, "DB_NAME": name, "DB_USER": ROLE, "DB_PASSWORD": PASSWORD}

    def sessions(self, name: str) -> list[int]:
        """The handlers' sessions on each server; the monitor's is not one."""
        text = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = %s"
            " AND application_name <> 'pgdbpool:monitor'"
        )
        return [cluster.sql(text, (name, ROLE))[0][0] for cluster in self.clusters]

    def committed(self, name: str) -> dict[str, list[str]]:
        """The rows of the tables in which something was changed."""
        return {table: rows for table, rows in self._rows(name).items() if rows != self._before[table]}

    def _rows(self, name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for cluster in self.clusters:
            with _admin(cluster, name) as cursor:
                cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
                for (table,) in cursor.fetchall():
                    cursor.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
                    found[table] = sorted([*found.get(table, []), *(row[0] for row in cursor.fetchall())])
        return found


@contextmanager
def _admin(cluster: Cluster, database: str) -> Iterator[Any]:
    connection = cluster.admin(dbname=database)
    try:
        yield connection.cursor()
    finally:
        connection.close()


@contextmanager
def stage() -> Iterator[Stage]:
    """The servers, of the version that the tests run on."""
    folder = at_hand()[chosen()[0][0]]
    settings = {**SETTINGS, "max_connections": "300", "listen_addresses": ""}
    hba = "local all all scram-sha-256\n"
    with Cluster(folder, settings=settings, hba=hba) as first:
        second = Cluster(folder, settings=settings, hba=hba)
        second.port = first.port
        with second:
            yield Stage((first, second))


def compare(case: Case, on: Stage) -> Comparison:
    """Both versions, one after the other."""
    old, old_errors = _seen(case, on, "old", folder_of_old())
    new, new_errors = _seen(case, on, "new", ROOT)
    return Comparison(case, old, new, f"--- {OLD} wrote:\n{old_errors}--- now:\n{new_errors}")


def _seen(case: Case, on: Stage, version: str, package: Path) -> tuple[Seen, str]:
    name = f"{case.name}_{version}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment = {**inherited, **on.databases(name), "PYTHONPATH": str(package)}
    command = [sys.executable, str(Path(__file__).with_name("play.py")), str(case.path), str(case.patience)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        committed, sessions = on.committed(name), on.sessions(name)
        _, errors = process.communicate(timeout=15)
    assert told, errors
    report = json.loads(told)
    assert Path(report["module"]).is_relative_to(package), report["module"]
    assert process.returncode == 0, errors
    assert eventually(lambda: on.sessions(name) == [0, 0])
    return Seen(report["printed"], report["raised"], committed, sessions), errors
