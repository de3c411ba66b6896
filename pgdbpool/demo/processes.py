"""Process trees: listing, freezing and ending them, and ending them when their creator is gone.

Run as a script this file is the watcher that ``Watcher`` starts, so it imports the standard library only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A row of the process table."""

    parent: int
    state: str  # one letter, as ps shows it: T is stopped, Z is a zombie


def table() -> dict[int, Process]:
    """Every process of the machine, by its id."""
    return _from_proc() if os.path.exists("/proc/self/stat") else _from_ps()


def tree(root: int, now: dict[int, Process] | None = None) -> list[int]:
    """``root`` and its descendants that still run, parents before their children."""
    now, found = now or table(), [root]
    for pid in found:
        found += [child for child, process in now.items() if process.parent == pid]
    return [pid for pid in found if pid in now and now[pid].state != "Z"]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process; those that are gone already are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(root: int, timeout: float = 5.0) -> None:
    """Stop ``root`` and its descendants, root first; return when the kernel reports all of them stopped."""
    limit = time.monotonic() + timeout
    while True:
        now = table()
        running = [pid for pid in tree(root, now) if now[pid].state != "T"]
        if not running:
            return
        send(running, signal.SIGSTOP)
        if time.monotonic() > limit:
            raise TimeoutError(f"processes {running} did not stop within {timeout:g} s")
        time.sleep(0.002)


def thaw(root: int) -> None:
    """Let ``root`` and its descendants run again, root first."""
    send(tree(root), signal.SIGCONT)


def gone(pids: Iterable[int], timeout: float) -> bool:
    """Wait until none of the processes runs; False if some still do after ``timeout`` seconds."""
    wanted, limit = set(pids), time.monotonic() + timeout
    while any(process.state != "Z" for pid, process in table().items() if pid in wanted):
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def end(root: int, timeout: float = 5.0) -> None:
    """Ask a tree to end at once (SIGQUIT to its root), and kill what remains of it after ``timeout`` seconds.

    SIGQUIT is PostgreSQL's immediate shutdown and gunicorn's quick one.
    """
    pids = tree(root)
    send(pids, signal.SIGCONT)
    send(pids[:1], signal.SIGQUIT)
    if not gone(pids, timeout):
        send(pids, signal.SIGKILL)
        gone(pids, 1.0)


class Watcher:
    """Ends processes and removes a folder if this process dies without doing so itself, by SIGKILL for one.

    A process of its own waits at the end of a pipe whose other end only this process holds. A child forked from this
    process by ``os.fork`` holds it too: then the watcher acts when the last of them is gone.
    """

    def __init__(self, folder: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a Ctrl-C at the terminal is not for it
        )

    def add(self, pid: int) -> None:
        """Watch over ``pid``, a child of this process."""
        self._tell(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        """Forget ``pid``: it has ended."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Have everything ended and removed that still is there, and wait for that."""
        self._child.communicate()

    def _tell(self, line: str) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write(line.encode())
            self._child.stdin.flush()


def remove_folder(folder: Path, timeout: float = 5.0) -> None:
    """Remove a folder although processes that are just ending may still write to it."""
    limit = time.monotonic() + timeout
    while folder.exists() and time.monotonic() < limit:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.02)


def _from_proc() -> dict[int, Process]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                text = Path("/proc", name, "stat").read_text(errors="replace")
                state, parent = text[text.rindex(")") + 2 :].split()[:2]  # the name before it may hold anything
                found[int(name)] = Process(int(parent), state.upper())
    return found


def _from_ps() -> dict[int, Process]:
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in lines.splitlines())
    return {int(pid): Process(int(parent), state[0]) for pid, parent, state, *_ in rows}


def _watch(folder: Path) -> None:
    alive: list[int] = []
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        alive = [*(other for other in alive if other != pid), *([pid] if sign == "+" else [])]
    for pid in reversed(alive):
        end(pid)
    remove_folder(folder)


if __name__ == "__main__":  # pragma: no cover (the watcher's own process: -S keeps coverage out)
    for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(_number, signal.SIG_IGN)
    _watch(Path(sys.argv[1]))
