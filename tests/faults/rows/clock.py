"""Clocks that jump, and clients that stand still while the server's clock goes on."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults.measured import IN_FLIGHT
from tests.faults.rows.row import row
from tests.faults.scene import Load, Scene

_HOUR = 3600


def _libfaketime() -> Path | None:
    folders = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
    return next((found for folder in folders for found in Path("/").glob(f"{folder[1:]}/libfaketime.so.1")), None)


def _without_faketime() -> str:
    return "" if _libfaketime() else "a clock that jumps: no libfaketime; apt-get install libfaketime"


@row("28a", told=3.9, back=0.1, clean=0.1, gap=None)
def idle_client_stalls(scene: Scene) -> None:
    """The client stands still for 3 s while no request is under way, and the server ends its sessions: no request notices."""
    with scene.load() as load:
        _limit_idle_sessions(scene)
        load.order("pause")
        scene.sleep(0.3)
        with load.fault():
            _stall(scene, load)
        load.order("resume")


@row("28b", needs=_without_faketime, failed=IN_FLIGHT, told=3.9, back=0.1, clean=0.1, gap=None)
def clock_jumps(scene: Scene) -> None:
    """The clock jumps forward by 1 h and back by 2, which nobody notices; then the client stalls, and wakes up 1 h later."""
    ours = scene.peers[0]
    clock = scene.entered(_Clock())
    with scene.load(environment=clock.environment) as load:
        clock.followers = [each.pid for each in load.contestants.values()]
        before = scene.sessions(ours)
        with load.fault() as struck:
            struck()
            for seconds in (_HOUR, -_HOUR):
                clock.differ(seconds)
                scene.sleep(2, 1)
        after = scene.sessions(ours)
        _limit_idle_sessions(scene)
        with load.fault() as struck:
            struck()
            _stall(scene, load, lambda: clock.differ(0))
    if after != before:
        scene.results[ours].problems.append("connections were replaced because the clock jumped")


def _limit_idle_sessions(scene: Scene) -> None:
    """To 1 s, for all that are in use: a session takes up what is set when it is asked next."""
    scene.server.sql("ALTER SYSTEM SET idle_session_timeout = '1s'")
    scene.server.sql("SELECT pg_reload_conf()")
    scene.sleep(0.3)


def _stall(scene: Scene, load: Load, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The clients' processes stand still for 3 s. Sessions that begin afterwards may be idle for as long as they like."""
    try:
        for each in load.contestants.values():
            each.signal(signal.SIGSTOP)
        meanwhile()
        scene.server.sql("ALTER SYSTEM RESET idle_session_timeout")
        scene.sleep(3)
        scene.server.sql("SELECT pg_reload_conf()")
    finally:
        for each in load.contestants.values():
            each.signal(signal.SIGCONT)


class _Clock:
    """A clock by which processes go that have its ``environment``."""

    def __init__(self) -> None:
        self.followers: list[int] = []
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name, "clock")
        self.differ(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(_libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else a thread that waits for the GIL does so ten times as long
        }

    def differ(self, seconds: int) -> None:
        """From the true time."""
        new = self._file.with_name("new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)  # never seen half written

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        for pid in self.followers:  # killed processes leave them
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                Path("/dev/shm", name).unlink(missing_ok=True)
