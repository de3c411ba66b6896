"""A man in the middle, who changes what passes or cuts it short."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["LARGE", "Meddler", "meddler_before"]

LARGE = 4000  # bytes: what is shorter passes, such as probes and handshakes


class Meddler:
    """``meddle("answer", "cut")``: the next large answer is cut short; ``"request"`` and ``"change"`` are the others."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._plan = ("", "")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def meddle(self, what: str, how: str) -> None:
        self._plan = (what, how)

    def _run(self, work: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._place)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [client, server]
                self._run(self._pass, "request", client, server)
                self._run(self._pass, "answer", server, client)

    def _pass(self, what: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other direction has ended
            while data := source.recv(65536):
                planned, how = self._plan
                if planned == what and len(data) > LARGE:
                    self._plan = ("", "")
                    if how == "cut":
                        target.sendall(data[:-5])
                        break
                    data = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5.0)
        for each in self._open:
            each.close()


@contextmanager
def meddler_before(host: str, port: int) -> Iterator[Meddler]:
    meddler = Meddler((host, port))
    try:
        yield meddler
    finally:
        meddler.close()
