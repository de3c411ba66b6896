"""The command, run as a user runs it: by itself, or in a terminal whose screen can be read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte

COMMAND = [sys.executable, "-m", "pgdbpool"]
# As a shell starts it for somebody: Ctrl-C counts, also where these tests run in the background of a script.
_WITH_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); {} os.execv(sys.argv[1], sys.argv[1:])"
)
INTERRUPTIBLE = [sys.executable, "-c", _WITH_SIGINT.format(""), *COMMAND]
# The terminal becomes the session's own, so that its keys and its end reach the command.
_CONTROLLING = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
_IN_TERMINAL = [sys.executable, "-c", _WITH_SIGINT.format(_CONTROLLING), *COMMAND]


def environment(**words: str) -> dict[str, str]:
    """Ours, without what chooses how a terminal is used."""
    unset = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "WEB_CONCURRENCY", "http_proxy", "PYTHONUNBUFFERED"}
    return {name: value for name, value in os.environ.items() if name not in unset} | words


def pgdbpool(*arguments: str, folder: Path | None = None, **words: str) -> subprocess.CompletedProcess[str]:
    """The command with its output in pipes."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(**words),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *arguments: str, columns: int, lines: int, folder: Path | None, **words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.raw = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            [*_IN_TERMINAL, *arguments],
            cwd=folder,
            env=environment(**{"TERM": "xterm-256color", **words}),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    @property
    def modes(self) -> list[object]:
        """How it takes keys."""
        return termios.tcgetattr(self.slave)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display]

    def until(self, *texts: str, without: str = "\0", seconds: float = 25.0) -> list[str]:
        """The screen as soon as it shows all texts, and none that is not to be there."""
        limit = time.monotonic() + seconds
        while not self._shows(texts) or self._shows([without]):
            assert time.monotonic() < limit, "\n".join(["not seen:", *texts, "but:", *self.rows])
            self._read(0.1)
        return self.rows

    def end(self, seconds: float = 20.0) -> int:
        """Wait for its end; the exit status."""
        limit = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < limit, "\n".join(["still runs:", *self.rows])
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def _shows(self, texts: tuple[str, ...] | list[str]) -> bool:
        shown = " ".join(" ".join(self.rows).split())
        return all(each in shown for each in texts)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65536)
        self.raw += data
        self._stream.feed(data)
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


@contextmanager
def terminal(
    *arguments: str, columns: int = 120, lines: int = 40, folder: Path | None = None, **words: str
) -> Iterator[Terminal]:
    """The command in a terminal of this size; killed at the end if it still runs."""
    made = Terminal(*arguments, columns=columns, lines=lines, folder=folder, **words)
    try:
        yield made
    finally:
        made.close()
