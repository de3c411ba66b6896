"""What the tests of a user's calls share: a proxy that counts and loses messages, a fresh table, a killed backend."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import pgdbpool
from tests.servers import ROLE, Server

__all__ = ["BOTH", "TABLE", "Wire", "each_call", "fail", "fresh_table", "insert", "kill", "rows_of", "wire_to"]

TABLE = "of_usage"  # made anew by the fixture `table`
BOTH = pytest.mark.parametrize("autocommit", [True, False])

_OF_THE_POOL = ("pg_is_in_recovery", "datconnlimit", "pg_blocking_pids")  # on connections of its own
_NEGOTIATION = (80877103, 80877104)  # SSLRequest and GSSENCRequest; PostgreSQL manual, 54.7


def fresh_table(server: Server, name: str, columns: str = "id int PRIMARY KEY, note text") -> None:
    """An empty table of the tests' role, whatever an earlier test left of it."""
    table = f"{ROLE}.{name}"
    server.sql(
        f"DROP TABLE IF EXISTS {table} CASCADE; CREATE TABLE {table} ({columns}); ALTER TABLE {table} OWNER TO {ROLE}"
    )


def rows_of(server: Server, name: str, column: str = "id") -> list[Any]:
    """What is committed of a column, in order."""
    return [row[0] for row in server.sql(f"SELECT {column} FROM {ROLE}.{name} ORDER BY 1")]


def insert(db: Any, *numbers: int) -> None:
    for number in numbers:
        db.query(f"INSERT INTO {TABLE} (id) VALUES (%s)", (number,))


def fail(db: Any, text: str = "SELECT 1/0") -> pgdbpool.DBQueryError:
    """Send what the server rejects, and swallow its error."""
    with pytest.raises(pgdbpool.DBQueryError) as caught:
        db.query(text)
    return caught.value


def kill(server: Server, pid: int) -> None:
    """Terminate that backend, and return when it is gone."""
    assert server.sql("SELECT pg_terminate_backend(%s, 5000)", (pid,)) == [(True,)]


class _Client:
    """The client's half of one connection: bytes in, messages of PostgreSQL's protocol out."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.ours, self.theirs = ours, theirs
        self.lost = False
        self._buffer = b""
        self._started = False

    def messages(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Kind and text of each whole message; those of the start-up are left out."""
        self._buffer += data
        while len(self._buffer) >= 8 if not self._started else len(self._buffer) >= 5:
            head = 1 if self._started else 0
            length = struct.unpack_from("!I", self._buffer, head)[0] + head
            if len(self._buffer) < length:
                return
            message, self._buffer = self._buffer[:length], self._buffer[length:]
            if self._started:
                yield message[:1].decode(), message[5:].rstrip(b"\0").decode(errors="replace")
            else:
                self._started = struct.unpack_from("!I", message, 4)[0] not in _NEGOTIATION


class Wire:
    """A TCP proxy in front of a server, which keeps what clients send after their start-up.

    ``sent`` holds (kind, text) of every message: ``Q`` is a simple query, that is one round trip. ``lose_answer(text)``:
    the next message with that text (the next ``times``) reaches the server, and its answer never comes back. ``lose(text)``:
    it does not even reach the server. Both cut that one connection.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent: list[tuple[str, str]] = []
        self._lose: list[tuple[str, bool]] = []  # text, and whether the server still gets it
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def config(self, group: dict[str, Any] | None = None, **endpoint: Any) -> dict[str, Any]:
        """As ``Server.config``, through this proxy and without TLS."""
        return self._server.config(group, **{"host": "127.0.0.1", "port": self.port, "ssl": "disable", **endpoint})

    def queries(self) -> list[str]:
        """The texts of the round trips so far, the pool's own probes left out, and forget them."""
        sent, self.sent = self.sent, []
        assert {kind for kind, _ in sent} <= {"Q", "X", "p"}, sent
        return [text for kind, text in sent if kind == "Q" and not any(own in text for own in _OF_THE_POOL)]

    def lose_answer(self, text: str, times: int = 1) -> None:
        self._lose += [(text, True)] * times

    def lose(self, text: str) -> None:
        self._lose.append((text, False))

    def close(self) -> None:
        self._open = False
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _run(self) -> None:
        while self._open:
            for key, _ in self._selector.select(0.02):
                if key.fd in self._selector.get_map():  # its connection may have been cut a moment ago
                    key.data()

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        theirs = socket.create_connection((self._server.host, self._server.port))
        for each in (ours, theirs):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(ours, theirs)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._forward(client))
        self._selector.register(theirs, selectors.EVENT_READ, lambda: self._answer(client))

    def _forward(self, client: _Client) -> None:
        data = self._received(client.ours)
        for kind, text in client.messages(data):
            self.sent.append((kind, text))
            if due := next((each for each in self._lose if each[0] in text), None):
                self._lose.remove(due)
                client.lost = True
                data = data if due[1] else b""
        self._pass(data, client, client.theirs)

    def _answer(self, client: _Client) -> None:
        data = self._received(client.theirs)
        self._pass(b"" if client.lost else data, client, client.ours)

    def _pass(self, data: bytes, client: _Client, onward: socket.socket) -> None:
        with suppress(OSError):
            if data:
                onward.sendall(data)
                return
        for each in (client.ours, client.theirs):
            self._selector.unregister(each)
            each.close()

    @staticmethod
    def _received(source: socket.socket) -> bytes:
        with suppress(OSError):
            return source.recv(65536)
        return b""


@contextmanager
def wire_to(server: Server) -> Iterator[Wire]:
    wire = Wire(server)
    try:
        yield wire
    finally:
        wire.close()


def each_call(pool: Any, group: str | None = None) -> dict[str, Callable[..., Any]]:
    """The ways to send one statement: by the pool, a handler and a transaction."""

    def by_handler(*args: Any, **kwargs: Any) -> Any:
        with pool.handler(group) as db:
            return db.query(*args, **kwargs)

    def by_transaction(*args: Any, **kwargs: Any) -> Any:
        with pool.transaction(group) as db:
            return db.query(*args, **kwargs)

    return {
        "query": lambda *args, **kwargs: pool.query(*args, group=group, **kwargs),
        "handler": by_handler,
        "transaction": by_transaction,
    }
