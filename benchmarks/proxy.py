"""A TCP proxy on the loopback interface whose network can fail: it resets everybody, or all falls silent."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

__all__ = ["Proxy"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


class Proxy:
    """Between clients and the server on ``127.0.0.1:server_port``; clients come to ``port``.

    Everything is done in its own thread; ``reset``, ``silence`` and ``heal`` return when it is done.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}  # each end of a connection, and the other end
        self._fillers: list[socket.socket] = []
        self._resetting = False
        self._orders: SimpleQueue[tuple[Callable[[], object], threading.Event]] = SimpleQueue()
        self._bell, self._ear = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ear, selectors.EVENT_READ, self._obey)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """Every connection ends by RST, and so does each new one as soon as it is made."""
        self._order(self._reset)

    def silence(self) -> None:
        """Nothing passes any more, and nobody answers a new handshake (on Linux; elsewhere nobody accepts it)."""
        self._order(self._silence)

    def heal(self) -> None:
        """As before; what was sent into the silence arrives now."""
        self._order(self._heal)

    def close(self) -> None:
        self._order(self._end)
        self._thread.join()
        for each in (*self._peers, *self._fillers, self._listener, self._bell, self._ear):
            each.close()
        self._selector.close()

    # -- in its thread ------------------------------------------------------------------------------------------------

    def _order(self, what: Callable[[], object]) -> None:
        done = threading.Event()
        self._orders.put((what, done))
        self._bell.send(b"!")
        done.wait()

    def _obey(self) -> None:
        self._ear.recv(1)
        what, done = self._orders.get()
        what()
        done.set()

    def _run(self) -> None:
        while self._open:
            for key, _ in self._selector.select():
                if key.fd in self._selector.get_map():  # it may have been dropped a moment ago
                    key.data()

    def _end(self) -> None:
        self._open = False

    def _reset(self) -> None:
        self._resetting = True
        for each in list(self._peers):
            self._drop(each, reset=True)

    def _silence(self) -> None:
        for each in (self._listener, *self._peers):
            self._selector.unregister(each)
        self._listener.listen(0)  # a full queue: the kernel drops whatever handshake comes
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _heal(self) -> None:
        self._resetting = False
        if not self._fillers:
            return
        while self._fillers:
            self._fillers.pop().close()
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for each in self._peers:
            self._watch(each)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._resetting:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._server_port))
        self._peers |= {client: server, server: client}
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._watch(each)

    def _watch(self, end: socket.socket) -> None:
        self._selector.register(end, selectors.EVENT_READ, lambda: self._relay(end))

    def _relay(self, source: socket.socket) -> None:
        with suppress(OSError):
            if data := source.recv(65536):
                self._peers[source].sendall(data)
                return
        self._drop(source)

    def _drop(self, end: socket.socket, *, reset: bool = False) -> None:
        """Close both ends of a connection."""
        if end not in self._peers:
            return
        for each in (end, self._peers[end]):
            del self._peers[each]
            self._selector.unregister(each)
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.close()
