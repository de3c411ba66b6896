"""The server that all contestants share, and the one table in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import make_dsn

from pgdbpool.demo.cluster import Cluster

__all__ = ["ROWS", "Server", "embedded", "running"]

VARIABLE = "PGDBPOOL_BENCH_DSN"
ROWS = 100
_SETTINGS = {"max_connections": "200", "shared_buffers": "128MB", "fsync": "on", "full_page_writes": "on"}
_ROLE, _PASSWORD = "bench", "of a server that lives for minutes"


@dataclass(frozen=True)
class Server:
    """``dsn`` is for every driver; ``name`` says what it is."""

    dsn: str
    name: str


@contextmanager
def running() -> Iterator[Server]:
    """The embedded server for as long as the block lasts, or the one that ``PGDBPOOL_BENCH_DSN`` names.

    In it is the table ``pgdbpool_bench``: ``ROWS`` rows of four columns. It is dropped at the end.
    """
    if named := os.environ.get(VARIABLE):
        with _furnished(named):
            yield Server(named, f"{_version(named)}, from {VARIABLE}")
        return
    with embedded() as (_, dsn), _furnished(dsn):
        yield Server(dsn, f"{_version(dsn)}, embedded, TCP on 127.0.0.1")


@contextmanager
def embedded(**settings: str) -> Iterator[tuple[Cluster, str]]:
    """A new server, and the DSN of the role and the database that were made in it."""
    with Cluster(settings={**_SETTINGS, **settings}) as cluster:
        cluster.create_role(_ROLE, _PASSWORD)
        cluster.create_database(_ROLE, _ROLE)
        yield cluster, make_dsn(host="127.0.0.1", port=cluster.port, dbname=_ROLE, user=_ROLE, password=_PASSWORD)


@contextmanager
def _furnished(dsn: str) -> Iterator[None]:
    _run(dsn, "DROP TABLE IF EXISTS pgdbpool_bench")
    _run(
        dsn,
        "CREATE TABLE pgdbpool_bench (id int PRIMARY KEY, name text NOT NULL, price int NOT NULL, stock int NOT NULL)",
    )
    _run(
        dsn,
        f"INSERT INTO pgdbpool_bench SELECT i, 'product ' || i, i * 100, i * 3 FROM generate_series(1, {ROWS}) AS i",
    )
    _run(dsn, "VACUUM ANALYZE pgdbpool_bench")
    try:
        yield
    finally:
        _run(dsn, "DROP TABLE pgdbpool_bench")


def _run(dsn: str, text: str) -> None:
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        connection.cursor().execute(text)
    finally:
        connection.close()


def _version(dsn: str) -> str:
    connection = psycopg2.connect(dsn)
    try:
        return str(connection.info.parameter_status("server_version"))
    finally:
        connection.close()
