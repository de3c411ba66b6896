"""The port that the demo listens on, and who has it if it is taken."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

PREFERRED = 8080


class PortTaken(OSError):
    """The port that was asked for is in use; the message says by whom, where that can be told."""


def listen(port: int | None) -> socket.socket:
    """A socket bound on 127.0.0.1: to ``port``, or for None to 8080 or else a free one."""
    try:
        return _bound(PREFERRED if port is None else port)
    except OSError as error:
        if port is None:
            return _bound(0)
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} on 127.0.0.1 is taken by {holder(port)}; --port 0 takes a free one") from None
        raise PortTaken(f"port {port} on 127.0.0.1 cannot be used: {error.strerror}") from None


def holder(port: int) -> str:
    """``process 4711 (nginx)``, as far as this account may see it."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in filter(str.isdigit, os.listdir("/proc") if sockets else ()):
        with suppress(OSError):  # another account's, or it ended meanwhile
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") in sockets for fd in os.listdir(f"/proc/{pid}/fd")):
                return f"process {pid} ({Path('/proc', pid, 'comm').read_text().strip()})"
    return "another process"


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is in TIME_WAIT
        found.bind(("127.0.0.1", port))
        found.listen()
    except BaseException:
        found.close()
        raise
    return found


def _listening(port: int) -> list[str]:
    """The inodes of the sockets that listen on a port; none where there is no /proc."""
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":  # TCP_LISTEN
                    inodes.append(fields[9])
    return inodes
