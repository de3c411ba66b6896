"""Process trees: ended, frozen, listed, watched over."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgdbpool.demo import processes
from tests.servers import eventually

DEAF = "import signal, subprocess, sys, time; signal.signal(signal.SIGQUIT, signal.SIG_IGN); print(flush=True)\n"


@pytest.fixture
def deaf() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not listen to SIGQUIT, with a child that does not either."""
    child = f"subprocess.Popen([sys.executable, '-c', {DEAF + 'time.sleep(60)'!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", DEAF + child], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()  # the child's
        yield process
        processes.send(processes.tree(process.pid), processes.signal.SIGKILL)


def test_who_does_not_end_when_asked_is_killed(deaf: subprocess.Popen[bytes]) -> None:
    """A tree that ignores SIGQUIT is killed when its time is over, children too."""
    pids = processes.tree(deaf.pid)
    assert len(pids) == 2
    processes.end(deaf.pid, 0.2)
    assert processes.gone(pids, 5.0)


def test_a_frozen_tree_ends_too(deaf: subprocess.Popen[bytes]) -> None:
    """One that stands still is thawed first, and killed as any other."""
    pids = processes.tree(deaf.pid)
    processes.freeze(deaf.pid)
    assert not processes.gone(pids, 0.0)
    processes.end(deaf.pid, 0.0)
    assert processes.gone(pids, 5.0)


def test_freezing_has_its_limit(deaf: subprocess.Popen[bytes]) -> None:
    """Who does not stand still in time is named."""
    with pytest.raises(TimeoutError, match=rf"{deaf.pid}.*did not stop within -1 s"):
        processes.freeze(deaf.pid, -1.0)
    processes.thaw(deaf.pid)


def test_a_folder_that_is_still_written_to(tmp_path: Path) -> None:
    """It is removed as soon as nobody makes files in it any more."""
    folder, until = tmp_path / "folder", time.monotonic() + 0.3

    def write() -> None:
        while time.monotonic() < until:
            folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                (folder / str(time.monotonic())).touch()

    writer = threading.Thread(target=write)
    writer.start()
    assert eventually(folder.exists)
    while writer.is_alive():
        processes.remove_folder(folder)
    processes.remove_folder(folder)
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps: apt install procps")
def test_ps_and_proc_say_the_same() -> None:
    """The process table of ``ps``, which macOS has instead of /proc, tells this process and its parent as well."""
    known, here = processes._from_ps(), processes.table()[os.getpid()]
    assert known[os.getpid()].parent == here.parent == os.getppid()
    assert known[os.getppid()].state in "RSDI"


def test_the_watcher_ends_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At the end of its input it ends whom it was told of, but for those that ended before, and removes the folder."""
    folder = tmp_path / "of the watcher"
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as left, subprocess.Popen(["sleep", "60"]) as ended:
        said = f"+{ended.pid}\n+{left.pid}\n-{ended.pid}\n"
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        processes._watch(folder)
        assert left.wait(5) != 0
        assert ended.poll() is None
        ended.kill()
    assert not folder.exists()
