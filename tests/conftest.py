"""The fixtures of every test: a real server, a maker of pools, and the proof that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from tests.servers import Fleet, Server, Session, at_hand, chosen, described, eventually, single
from tests.several import Replicas, Several, independent, primaries, replicas
from tests.usage import TABLE, Wire, fresh_table, wire_to


def pytest_report_header() -> list[str]:
    libpq = psycopg2.extensions.libpq_version()
    return [*described(), f"psycopg2: {psycopg2.__version__.split()[0]}, libpq {libpq // 10000}.{libpq % 10000}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_key" in metafunc.fixturenames:
        every = metafunc.definition.get_closest_marker("every_version") is not None
        keys = list(at_hand()) if every else chosen()[0]
        if every or len(keys) > 1:
            metafunc.parametrize("server_key", keys, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes and temporary files of the run are gone when it ends; the developer's PG* variables play no part."""
    tmp_path_factory.getbasetemp()  # pytest's own folder stays outside
    folder = Path(tempfile.mkdtemp(prefix="pgt-")).resolve()
    folder.chmod(0o711)  # the server's account, which is not root's, has to reach its folder in it
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG") and not name.startswith("PGDBPOOL_TEST")]:
            patch.delenv(name)
        patch.delenv("WEB_CONCURRENCY", raising=False)
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield
        processes = eventually_none(lambda: _processes_of(folder))
        # Where a test kills a process, what its pool told the other workers stays until the next one comes, or for an hour.
        shutil.rmtree(folder / f"pgdbpool-{os.geteuid()}", ignore_errors=True)
        files = eventually_none(lambda: sorted(path.name for path in folder.iterdir()))
    shutil.rmtree(folder, ignore_errors=True)
    assert (processes, files) == ([], [])


@pytest.fixture(scope="session")
def fleet(nothing_is_left: None) -> Iterator[Fleet]:
    """Every server of the run."""
    servers = Fleet()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def server_key(request: pytest.FixtureRequest) -> str:
    """Which server: the chosen one, or each in turn for a test marked ``every_version``."""
    return str(getattr(request, "param", chosen()[0][0]))


@pytest.fixture(scope="session")
def server(fleet: Fleet, server_key: str) -> Server:
    """The server that all tests share: no test restarts, freezes or kills it."""
    return fleet.shared(single, server_key)


@pytest.fixture
def own_server(fleet: Fleet, server_key: str) -> Iterator[Server]:
    """A server for one test, which may do to it what it likes."""
    with fleet.own(single, server_key) as server:
        yield server


@pytest.fixture(scope="module")
def module_server(fleet: Fleet, server_key: str) -> Iterator[Server]:
    """A server for the tests of one module, which may restart and freeze it, and leave it running."""
    with fleet.own(single, server_key) as server:
        yield server


@pytest.fixture(name="replicas", scope="session")
def shared_replicas(fleet: Fleet, server_key: str) -> Replicas:
    """A primary and two standbys that all tests share: no test restarts, freezes, kills or promotes one."""
    return fleet.shared(replicas, server_key)


@pytest.fixture
def own_replicas(fleet: Fleet, server_key: str) -> Iterator[Replicas]:
    """A primary and two standbys for one test, which may do to them what it likes."""
    with fleet.own(replicas, server_key) as made:
        yield made


@pytest.fixture(scope="module")
def module_replicas(fleet: Fleet, server_key: str) -> Iterator[Replicas]:
    """A primary and two standbys for the tests of one module, which promote none and leave all of them running."""
    with fleet.own(replicas, server_key) as made:
        yield made


@pytest.fixture
def three_servers(fleet: Fleet, server_key: str) -> Iterator[Several]:
    """Three servers independent of each other, which a test may stop, kill and freeze: the next finds them running."""
    made = fleet.shared(independent, server_key)
    yield made
    made.repair()


@pytest.fixture
def three_primaries(fleet: Fleet, server_key: str) -> Iterator[Several]:
    """The same of one cluster, each of which takes writes."""
    made = fleet.shared(primaries, server_key)
    yield made
    made.repair()


@pytest.fixture
def make_pool(fleet: Fleet, server: Server) -> Iterator[Callable[..., Any]]:
    """Makes pools: ``make_pool(config)``, or ``make_pool(connection_count=2, …)`` for ``web`` on the shared server.

    At the end all of them are closed, and neither a thread of theirs nor a session on any server may remain.
    """
    import pgdbpool

    threads, sessions = set(threading.enumerate()), set(_pids(fleet, "%"))
    pools: list[Any] = []
    names = {"pgdbpool%"}

    def make(config: dict[str, Any] | None = None, /, **group: Any) -> Any:
        config = server.config(group) if config is None else config
        names.update(known["application_name"] for known in config["groups"].values() if "application_name" in known)
        pools.append(pgdbpool.Pool(config))
        return pools[-1]

    yield make
    for other in fleet:
        other.thaw()
    for pool in reversed(pools):
        pool.close(timeout=1)
    assert eventually_none(lambda: [thread.name for thread in _pool_threads() - threads]) == []
    assert eventually_none(lambda: [s for s in _sessions(fleet, *names) if s.pid not in sessions]) == []


def eventually_none(found: Callable[[], list[Any]], seconds: float = 5.0) -> list[Any]:
    """What is still found when nothing should be, after a while of patience."""
    last: list[Any] = []

    def gone() -> bool:
        last[:] = found()
        return not last

    eventually(gone, seconds)
    return last


def _pool_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pgdbpool-")}


def _sessions(fleet: Fleet, *names: str) -> list[Session]:
    return [session for server in fleet if server.running for name in names for session in server.sessions(name)]


def _pids(fleet: Fleet, name: str) -> list[int]:
    return [session.pid for session in _sessions(fleet, name)]


def _processes_of(folder: Path) -> list[str]:
    """What this run started and still lives: its children, and whoever works in the folder or has it as TMPDIR.

    ``multiprocessing`` keeps a helper process until the interpreter exits.
    """
    found = {child.pid: child for child in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        if process.pid not in found and _belongs(process, str(folder)):
            found[process.pid] = process
    commands = [_command(process) for process in found.values()]
    return [command for command in commands if command and "multiprocessing" not in command]


def _belongs(process: psutil.Process, folder: str) -> bool:
    try:
        return process.pid != os.getpid() and (
            process.environ().get("TMPDIR") == folder or process.cwd().startswith(folder)
        )
    except (psutil.Error, OSError):
        return False


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return ""


@pytest.fixture
def table(server: Server) -> None:
    """``tests.usage.TABLE``, empty."""
    fresh_table(server, TABLE)


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A proxy in front of the server that counts and loses messages."""
    with wire_to(server) as wire:
        yield wire
