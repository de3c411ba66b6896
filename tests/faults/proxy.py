"""A TCP proxy in front of a PostgreSQL whose network can fail in every way that user space can make."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

__all__ = ["Proxy"]

End = Literal["rst", "fin"]
Silence = Literal["rst", "fin", "hang"]  # hang: both ends stay open and silent until end_all


class Proxy:
    """Clients come to ``port`` on 127.0.0.1 and reach the server at ``host:port``.

    It runs in a process of its own (``proxy_process.py``), so no thread of this one can slow it down. Each method
    returns when the fault is there; any thread may call them.
    """

    def __init__(self, host: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.proxy_process", host, str(port)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is not for it: it ends with its input
        )
        self._lock = threading.Lock()
        self.port: int = self._order("port")

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the network, until heal

    def delay(self, seconds: float) -> None:
        """What passes takes so long, in each direction."""
        self._order("delay", seconds)

    def drip(self, size: int, pause: float) -> None:
        """Answers come in pieces of ``size`` bytes, each ``pause`` seconds after the one before."""
        self._order("drip", size, pause)

    def blackhole(self) -> None:
        """Nothing passes and nobody is accepted; every socket stays open."""
        self._order("blackhole")

    def deaf(self) -> None:
        """New connections are not answered; the old ones go on."""
        self._order("deaf")

    def refuse(self) -> None:
        """The port is closed: ECONNREFUSED; the old connections go on."""
        self._order("refuse")

    def hang_up(self, how: End) -> None:
        """New connections are accepted and ended at once; the old ones go on."""
        self._order("hang_up", how)

    def heal(self) -> None:
        """All as at the beginning: what was held back is delivered, ``cut`` and ``on`` strike no more.

        What hangs by ``cut`` or ``on`` hangs on.
        """
        self._order("heal")

    def point_at(self, port: int) -> None:
        """New connections go to another server on the same host."""
        self._order("point_at", port)

    # -- single connections

    def end_all(self, how: Literal["rst", "fin", "half"]) -> None:
        """End all open connections; ``half`` shuts down only what goes to the client."""
        self._order("end_all", how)

    def cut(self, after_bytes: int, how: Silence, times: int = 1) -> None:
        """The next ``times`` connections on which the server answers end after so many bytes of it."""
        self._order("cut", after_bytes, how, times)

    def on(self, text: str, when: Literal["before", "after"], how: Silence, times: int = 1) -> None:
        """The next ``times`` queries that contain ``text``, whatever its case, lose their connection.

        ``before``: the server never sees the query. ``after``: it has executed it, and its answer never arrives. A
        connection by TLS cannot be read, and nothing strikes there.
        """
        self._order("on", text, when, how, times)

    def seen(self) -> dict[str, int]:
        """Connections ``accepted`` so far, those ``open`` now, and how often ``cut`` and ``on`` have ``struck``."""
        return dict(self._order("seen"))

    def close(self) -> None:
        """End the process, and with it every connection."""
        self._process.terminate()  # a child forked from this process holds the pipe, too
        self._process.communicate()

    def _order(self, name: str, *args: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps([name, *args]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the proxy's process has ended")
        return json.loads(answer)
