"""A throw-away PostgreSQL server in a temporary folder."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal

import psycopg2
from psycopg2 import sql as compose
from psycopg2.extensions import make_dsn

from pgdbpool.demo import processes
from pgdbpool.demo.account import folder_for, unprivileged
from pgdbpool.demo.installed import binaries, copy_wheel, newest

__all__ = ["Cluster", "ClusterError", "binaries", "run_once"]

Mode = Literal["smart", "fast", "immediate"]

# PostgreSQL manual, "Shutting Down the Server"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # the data does not outlive the process
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that a killed server leaves nothing in /dev/shm
    "wal_keep_size": "512MB",  # a standby that was away, or follows another, finds what it lacks
    "wal_retrieve_retry_interval": "100ms",  # a standby is quick to find a primary that is back
}

_HBA = """local all,replication all trust
host all,replication all 127.0.0.1/32 scram-sha-256
"""

_SOCKET_PATH_LIMIT = 103  # sockaddr_un.sun_path with its final zero: 104 bytes on macOS, 108 on Linux


class ClusterError(RuntimeError):
    """A server program failed; the message ends with what it wrote."""


class Cluster:
    """A throw-away PostgreSQL: a temporary folder of mode 0700, a free TCP port on 127.0.0.1, a socket in the folder.

    ``binaries`` is a folder that holds ``postgres`` and ``initdb`` (None: the newest wheel's). ``settings`` go into
    ``postgresql.conf``. ``folder`` is where the temporary folder is made (None: the system's place). ``hba`` replaces
    the rules of ``pg_hba.conf`` for everybody but the superuser on the socket; by default TCP asks for a password by
    SCRAM, and the socket trusts whoever can reach it.

    With ``primary``, which runs and is closed later than this one, it is a standby of that one: a copy of its data
    that replays what happens there, as soon as it hears of it. It has that one's settings and rules but for its own.

    For root the server runs as an unprivileged account. If this process dies without ``close``, even by SIGKILL, a
    watcher ends the server and removes the folder.
    """

    superuser = "postgres"

    def __init__(
        self,
        binaries: Path | None = None,
        *,
        primary: Cluster | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
        folder: Path | None = None,
        hba: str | None = None,
    ) -> None:
        self.binaries: Path = binaries or (primary.binaries if primary else newest())
        self.port = 0
        self.version = 0
        self._primary = primary
        self._settings = settings
        self._parent = folder
        self._hba = hba
        self._account = unprivileged()
        self._watcher: processes.Watcher | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._server is None:
            raise ClusterError("the server does not run")
        return self._server.pid

    def start(self) -> Cluster:
        """Start the server (the first time: make it) and return when it accepts connections.

        The port stays the same from then on.
        """
        if self._watcher is None:
            try:
                self._create()
                self._launch()
            except BaseException:
                self.close()
                raise
        elif self._server is None:
            self._launch()
        return self

    def stop(self, mode: Mode = "fast", timeout: float = 30.0) -> None:
        """Shut the server down by one of PostgreSQL's three modes; a frozen one is thawed first.

        ``subprocess.TimeoutExpired`` if it still runs after ``timeout`` seconds (``smart`` waits for every client).
        """
        if self._server is not None:
            self.thaw()
            self._server.send_signal(_SIGNALS[mode])
            self._server.wait(timeout)
            self._ended()

    def restart(self, mode: Mode = "fast") -> Cluster:
        """Stop and start, on the same port with the same data."""
        self.stop(mode)
        return self.start()

    def kill9(self) -> None:
        """Kill the server and all its processes, as a crash of the machine would."""
        if self._server is not None:
            pids = processes.tree(self.pid)
            processes.send(pids, signal.SIGKILL)
            self._server.wait()
            processes.gone(pids, 5.0)
            self._ended()

    def freeze(self) -> None:
        """Stop every process of the server (SIGSTOP): the kernel still acknowledges, but nobody answers."""
        processes.freeze(self.pid)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        processes.thaw(self.pid)

    def promote(self) -> None:
        """Make a standby a primary, on a timeline of its own; return when it takes writes."""
        if self.sql("SELECT pg_promote(true, 30)") != [(True,)]:  # pragma: no cover (the server takes 30 s to say so)
            raise ClusterError(f"the standby is no primary after 30 s:\n{_tail(self.log)}")

    def follow(self, primary: Cluster, *others: Cluster) -> Cluster:
        """Be a standby of that primary from now on; if it is lost, of the one of ``others`` that is promoted.

        A standby that runs changes over and keeps its sessions. Any other server is stopped, gives up its data for a
        copy of the primary's, and starts on its old port: what an old primary had written alone is lost.
        """
        if self._server is None or self.sql("SELECT pg_is_in_recovery()") != [(True,)]:
            self.stop("immediate")
            self._free_shared_memory()
            shutil.rmtree(self.data)
            self._primary = primary
            self._fill()
            self._launch()
        self.sql("ALTER SYSTEM SET primary_conninfo = %s", (_conninfo(primary, *others),))
        self.sql("SELECT pg_reload_conf()")
        return self

    def close(self) -> None:
        """Stop the server at once and remove all that it left."""
        if self._watcher is None:
            return
        try:
            self.stop("immediate", 5.0)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._free_shared_memory()
        self._watcher.close()
        self._watcher = None
        if self.socket_dir != self.folder:
            processes.remove_folder(self.socket_dir)

    def admin(self, **parameters: Any) -> Any:
        """A new psycopg2 connection as the superuser by the socket, in autocommit; the parameters are psycopg2's."""
        place = {"host": str(self.socket_dir), "port": self.port, "user": self.superuser, "dbname": "postgres"}
        connection = psycopg2.connect(**{**place, **parameters})
        connection.autocommit = True
        return connection

    def sql(self, text: Any, params: Any = None, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser on a connection of its own; its rows, if it gives any."""
        return run_once(self.admin(dbname=dbname), text, params)

    def create_role(self, name: str, password: str | None = None) -> None:
        """A role with LOGIN and nothing else."""
        text = compose.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        self.sql(text.format(compose.Identifier(name), compose.Literal(password)))

    def create_database(self, name: str, owner: str) -> None:
        text = compose.SQL("CREATE DATABASE {} OWNER {}")
        self.sql(text.format(compose.Identifier(name), compose.Identifier(owner)))

    # -- making it

    def _create(self) -> None:
        self.folder = self.socket_dir = folder_for(self._account, self._parent)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        try:
            self._watcher = processes.Watcher(self.folder)
        except BaseException:
            self.folder.rmdir()
            raise
        if len(os.fsencode(self.folder / ".s.PGSQL.65535.lock")) > _SOCKET_PATH_LIMIT:
            self.socket_dir = folder_for(self._account, Path("/tmp"))
        if not self._account.can_run(self.binaries / "postgres", "--version"):
            self.binaries = copy_wheel(self.binaries, self.folder / "wheel")
            self._account.own(self.folder / "wheel")
        self._fill()

    def _fill(self) -> None:
        """Make the folder of data, as a new one or as a copy of the primary's, and configure it."""
        if self._primary is None:
            options = ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "--auth=trust"]
            self._run("initdb", "-U", self.superuser, *options)
            self._configure({**_SETTINGS, **self._settings}, _HBA if self._hba is None else self._hba)
        else:
            options = ["--checkpoint=fast", "--no-sync", "--no-manifest", "--write-recovery-conf"]
            self._run("pg_basebackup", "-d", _conninfo(self._primary), *options)
            self._configure(self._settings, self._hba)

    def _configure(self, settings: Mapping[str, str], rules: str | None) -> None:
        with open(self.data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = {_quoted(value)}\n" for name, value in settings.items())
        if rules is not None:
            (self.data / "pg_hba.conf").write_text(f"local all,replication {self.superuser} trust\n{rules}")

    def _run(self, program: str, *options: str) -> None:
        """Run a program that makes the folder of data, to its good end."""
        assert self._watcher is not None
        log = self.folder / f"{program}.log"
        with open(log, "wb") as output:
            child = self._popen([str(self.binaries / program), "-D", str(self.data), *options], output)
        self._watcher.add(child.pid)
        try:
            status = child.wait()
        except BaseException:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        finally:
            self._watcher.remove(child.pid)
        if status:
            raise ClusterError(f"{program} failed:\n{_tail(log)}")

    # -- running it

    def _launch(self) -> None:
        for attempt in range(1, 6):  # pragma: no branch (the fifth attempt returns or raises)
            port = self.port or _free_port()
            if self._accepts(port):
                self.port = port
                self.version = self._server_version()
                return
            if self.port or attempt == 5 or "Address already in use" not in _tail(self.log):
                raise ClusterError(f"the server did not start on port {port}:\n{_tail(self.log)}")

    def _accepts(self, port: int) -> bool:
        """Start the server; True when it accepts connections, False when it ended instead."""
        assert self._watcher is not None
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # a killed server's: our server is known not to run
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(port), "-k", str(self.socket_dir)]
        with open(self.log, "ab") as output:
            self._server = self._popen(command, output)
        self._watcher.add(self._server.pid)
        limit = time.monotonic() + 60.0
        while self._server.poll() is None:
            if self._status() == "ready":
                return True
            if time.monotonic() > limit:  # pragma: no cover (after a minute)
                raise ClusterError(f"the server is not ready after 60 s:\n{_tail(self.log)}")
            time.sleep(0.01)
        self._ended()
        return False

    def _status(self) -> str:
        """The eighth line of postmaster.pid: ``starting``, ``stopping``, ``ready`` or ``standby``."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip()
        except (OSError, IndexError):
            return ""

    def _ended(self) -> None:
        assert self._server is not None
        assert self._watcher is not None
        self._watcher.remove(self._server.pid)
        self._server = None

    def _server_version(self) -> int:
        connection = self.admin()
        try:
            return int(connection.server_version)
        finally:
            connection.close()

    def _popen(self, command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.folder,
            env={**environment, "LC_ALL": "C"},  # on macOS the server needs a valid locale to start
            start_new_session=True,  # a Ctrl-C at the terminal is not for it
            **self._account.popen(),
        )

    def _free_shared_memory(self) -> None:
        """Remove the System V segment of a killed server; one that was shut down has removed it and its lock file."""
        try:
            line = (self.data / "postmaster.pid").read_text().splitlines()[6]
        except (OSError, IndexError):
            return
        ctypes.CDLL(None).shmctl(int(line.split()[1]), 0, None)  # IPC_RMID


def run_once(connection: Any, text: Any, params: Any = None) -> list[tuple[Any, ...]]:
    """Run one statement and close the connection; its rows, if it gives any."""
    try:
        cursor = connection.cursor()
        cursor.execute(text, params)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def _conninfo(*clusters: Cluster) -> str:
    """How a standby reaches the primary among them: by the socket, as the superuser."""
    hosts, ports = ",".join(str(each.socket_dir) for each in clusters), ",".join(str(each.port) for each in clusters)
    return str(make_dsn(host=hosts, port=ports, user=Cluster.superuser, target_session_attrs="read-write"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:].rstrip()


def _quoted(value: str) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"
