"""A pass-through proxy on the loopback interface that counts round trips."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from psycopg2.extensions import make_dsn, parse_dsn

__all__ = ["Wire", "tapped"]

# The client's messages that the server answers with ReadyForQuery, which libpq waits for: Query, Sync and FunctionCall
# (PostgreSQL manual, "Message Formats").
_WAITED_FOR = b"QSF"


class Wire:
    """Between clients and the server: ``dsn`` leads here; ``trips`` counts the messages that were waited for."""

    def __init__(self, dsn: str) -> None:
        place = parse_dsn(dsn)
        self._server = place.get("host", "localhost"), int(place.get("port", 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # Without encryption there is nothing to read, and nothing comes before the start-up packet.
        self.dsn = make_dsn(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        self._lock = threading.Lock()  # guards trips
        self.trips = 0
        _in_background(self._accept)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                _in_background(_relay, client, server, partial(self._count, Messages()))
                _in_background(_relay, server, client, lambda data: None)

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _count(self, messages: Messages, data: bytes) -> None:
        waited_for = messages.waited_for(data)
        with self._lock:
            self.trips += waited_for


class Messages:
    """What one client sends, in whatever pieces: a kind of one byte, a length that counts itself, and the contents."""

    def __init__(self) -> None:
        self._rest = b""
        self._kinds = 0  # 0 before the start-up packet, which is the one message without a kind; then 1 byte each

    def waited_for(self, data: bytes) -> int:
        """How many messages ended with ``data`` that the client waits for."""
        self._rest += data
        found = 0
        while len(self._rest) >= self._kinds + 4:
            end = self._kinds + int.from_bytes(self._rest[self._kinds : self._kinds + 4], "big")
            if len(self._rest) < end:
                break
            found += bool(self._kinds) and self._rest[0] in _WAITED_FOR
            self._rest, self._kinds = self._rest[end:], 1
        return found


def _relay(source: socket.socket, target: socket.socket, seen: Callable[[bytes], Any]) -> None:
    with suppress(OSError), source, target:
        while data := source.recv(65536):
            seen(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _in_background(target: Callable[..., None], *args: Any) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


@contextmanager
def tapped(dsn: str) -> Iterator[Wire]:
    wire = Wire(dsn)
    try:
        yield wire
    finally:
        wire.close()
