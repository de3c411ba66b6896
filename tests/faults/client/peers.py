"""The pools that are compared, each set up as its documentation says, behind one small interface.

Nothing of a peer is imported before it is made: pgdbpool 1.0.2 has the name of this version.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

__all__ = ["PEERS", "Peer", "Setting", "made"]

Run = Callable[..., list[Any]]  # run(text, params=None): the rows of one statement


@dataclass(frozen=True)
class Setting:
    """How a peer is to be set up. ``place``: psycopg2's keywords, of several servers as libpq has them (``a,b``).

    ``ours``: more of our own endpoint, group and root.

    ``acquire``: seconds to wait for a connection. ``query``: seconds for an answer, where a peer knows such a limit.
    ``old``: the folder of pgdbpool 1.0.2.
    """

    place: dict[str, Any]
    connections: int = 8
    minimum: int = 8
    acquire: float = 3.4
    query: float = 1.5
    libpq: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    old: str = ""

    @property
    def keywords(self) -> dict[str, Any]:
        """What ``psycopg2.connect`` is given."""
        return {**self.place, "connect_timeout": 2, **self.libpq}


class Peer(Protocol):
    """One pool. What it raises passes as it is."""

    def __init__(self, setting: Setting) -> None: ...

    def query(self, text: str, params: Any = None) -> list[Any]:
        """One statement, committed."""

    def transaction(self) -> AbstractContextManager[Run]:
        """A block that is committed at its end, and rolled back by an exception."""

    def checkout(self) -> AbstractContextManager[Any]:
        """A block that holds one connection of the driver."""

    def take(self) -> Any:
        """A connection until ``give``, by the pool's own two calls; 1.0.2 knows handlers only."""

    def give(self, taken: Any) -> None:
        """Give it back; what the pool says to a second time, or to what is not its own, passes as it is."""

    def close(self) -> None: ...


class _Psycopg2:
    """What is common to pools of psycopg2's connections in autocommit, in the words of psycopg2's documentation."""

    def checkout(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def query(self, text: str, params: Any = None) -> list[Any]:
        with self.checkout() as connection:
            return rows(connection, text, params)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        with self.checkout() as connection, connection:
            yield lambda text, params=None: rows(connection, text, params)


def rows(connection: Any, text: str, params: Any = None) -> list[Any]:
    """By a cursor of its own, as psycopg2's documentation has it."""
    with connection.cursor() as cursor:
        cursor.execute(text, params)
        return list(cursor.fetchall()) if cursor.description else []


class Psycopg2Pool(_Psycopg2):
    """psycopg2's own pool raises where it should wait, hence the semaphore. It checks no connection."""

    def __init__(self, setting: Setting) -> None:
        from psycopg2 import extensions
        from psycopg2.pool import ThreadedConnectionPool

        class Autocommit(extensions.connection):  # type: ignore[misc]
            def __init__(self, *args: Any, **words: Any) -> None:
                super().__init__(*args, **words)
                self.autocommit = True

        sizes = setting.minimum, setting.connections
        self._pool = ThreadedConnectionPool(*sizes, connection_factory=Autocommit, **setting.keywords)
        self._free, self._patience = threading.Semaphore(setting.connections), setting.acquire

    @contextmanager
    def checkout(self) -> Iterator[Any]:
        self._wait()
        try:
            connection = self._pool.getconn()
            try:
                yield connection
            finally:
                self._pool.putconn(connection)
        finally:
            self._free.release()

    def _wait(self) -> None:
        if not self._free.acquire(timeout=self._patience):
            raise TimeoutError(f"no connection is free after {self._patience:g} s")

    def take(self) -> Any:
        self._wait()
        return self._pool.getconn()

    def give(self, taken: Any) -> None:
        self._pool.putconn(taken)
        self._free.release()

    def close(self) -> None:
        self._pool.closeall()


class SQLAlchemy:
    """SQLAlchemy's engine over psycopg2; it checks no connection unless asked to."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, setting: Setting) -> None:
        from sqlalchemy import create_engine

        sizes = {"pool_size": setting.connections, "max_overflow": 0, "pool_timeout": setting.acquire}
        sizes |= self.options
        self._engine = create_engine("postgresql+psycopg2://", connect_args=setting.keywords, **sizes)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        for each in [self._engine.connect() for _ in range(setting.minimum)]:
            each.close()

    def query(self, text: str, params: Any = None) -> list[Any]:
        with self._autocommit.connect() as connection:
            return _fetched(connection.exec_driver_sql(text, params))

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        with self._engine.begin() as connection:
            yield lambda text, params=None: _fetched(connection.exec_driver_sql(text, params))

    @contextmanager
    def checkout(self) -> Iterator[Any]:
        connection = self._engine.raw_connection()
        try:
            yield connection
        finally:
            connection.close()

    def take(self) -> Any:
        return self._engine.raw_connection()

    def give(self, taken: Any) -> None:
        taken.close()

    def close(self) -> None:
        self._engine.dispose()


def _fetched(result: Any) -> list[Any]:
    return list(result) if result.returns_rows else []


class SQLAlchemyPinged(SQLAlchemy):
    """With its ping at every checkout."""

    options: ClassVar = {"pool_pre_ping": True}


class _Lending:
    """What psycopg_pool and pgdbpool call alike."""

    pool: Any

    def checkout(self) -> AbstractContextManager[Any]:
        return self.pool.connection()

    def take(self) -> Any:
        return self.pool.getconn()

    def give(self, taken: Any) -> None:
        self.pool.putconn(taken)

    def close(self) -> None:
        self.pool.close(1)


class PsycopgPool(_Lending):
    """psycopg_pool, over psycopg 3's C implementation; it checks no connection unless asked to."""

    checks = False

    def __init__(self, setting: Setting) -> None:
        import psycopg_pool

        check = psycopg_pool.ConnectionPool.check_connection if self.checks else None
        sizes = {"min_size": setting.minimum, "max_size": setting.connections, "timeout": setting.acquire}
        words = {**setting.keywords, "autocommit": True}
        self.pool = psycopg_pool.ConnectionPool("", kwargs=words, check=check, open=True, **sizes)
        self.pool.wait(30)

    def query(self, text: str, params: Any = None) -> list[Any]:
        with self.pool.connection() as connection:
            return _answer(connection.execute(text, params))

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        with self.pool.connection() as connection, connection.transaction():
            yield lambda text, params=None: _answer(connection.execute(text, params))


class PsycopgPoolChecked(PsycopgPool):
    """With its check at every checkout."""

    checks = True


def _answer(cursor: Any) -> list[Any]:
    return list(cursor.fetchall()) if cursor.description else []


class Old:
    """pgdbpool 1.0.2, whose groups commit at the end of a block. It takes such words as the port from the environment only."""

    def __init__(self, setting: Setting) -> None:
        place = setting.place
        words = {"PGPORT": "port", "PGAPPNAME": "application_name", "PGTARGETSESSIONATTRS": "target_session_attrs"}
        words["PGLOADBALANCEHOSTS"] = "load_balance_hosts"
        os.environ.update({name: str(place[key]) for name, key in words.items() if key in place})
        sys.path.insert(0, setting.old)
        from pgdbpool import pool

        names = {"host": place["host"], "name": place["dbname"], "user": place["user"], "pass": place["password"]}
        database = {**names, "ssl": "disable", "connect_timeout": 2, "query_timeout": int(setting.query * 1000)}
        groups = {"web": {"connection_count": setting.connections, "autocommit": False}}
        pool.Connection.init({"db": {**database, "connection_retry_sleep": 0.1}, "groups": groups})
        self._handler = pool.Handler

    def query(self, text: str, params: Any = None) -> list[Any]:
        with self.transaction() as run:
            return run(text, params)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        with self._handler("web") as db:
            yield lambda text, params=None: _answer(db.query(text, params))
            db.commit()

    @contextmanager
    def checkout(self) -> Iterator[Any]:
        with self._handler("web") as db:
            yield db.conn_ref

    def take(self) -> Any:
        return self._handler("web")

    def give(self, taken: Any) -> None:
        taken.__exit__(None, None, None)

    def close(self) -> None:
        """It knows no end."""


class Ours(_Lending):
    """This version; ``query`` seconds for an answer are ``query_timeout`` and the second that the contract adds."""

    def __init__(self, setting: Setting) -> None:
        import pgdbpool

        place, more = setting.place, setting.ours
        names = {"name": place["dbname"], "user": place["user"], "pass": place["password"], "connect_timeout": 2}
        endpoint = {**names, "libpq": setting.libpq, **more.get("endpoint", {})}
        servers = zip(place["host"].split(","), str(place["port"]).split(","), strict=True)
        sizes = {"connection_count": setting.connections, "min_connections": setting.minimum}
        limits = {"timeout": setting.acquire, "query_timeout": max(1, round((setting.query - 1) * 1000))}
        group = {**sizes, **limits, "application_name": place["application_name"], **more.get("group", {})}
        db = [{"host": host, "port": int(port), **endpoint} for host, port in servers]
        config = {"db": db, "groups": {"web": group}}
        self.config = {**config, **more.get("root", {})}
        self.pool: Any = pgdbpool.Pool(self.config, wait=30 if setting.minimum else None)

    def query(self, text: str, params: Any = None) -> list[Any]:
        return _answer(self.pool.query(text, params))

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        with self.pool.transaction() as db:
            yield lambda text, params=None: _answer(db.query(text, params))


PEERS: dict[str, type[Any]] = {
    "pgdbpool": Ours,
    "psycopg2.pool": Psycopg2Pool,
    "SQLAlchemy": SQLAlchemy,
    "SQLAlchemy, pre_ping": SQLAlchemyPinged,
    "psycopg_pool": PsycopgPool,
    "psycopg_pool, check": PsycopgPoolChecked,
    "pgdbpool 1.0.2": Old,
}


def made(name: str, setting: Setting) -> Peer:
    """A new pool of that name, with ``minimum`` connections open."""
    peer: Peer = PEERS[name](setting)
    return peer
