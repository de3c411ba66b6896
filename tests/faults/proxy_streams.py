"""What a connection through the proxy is made of: the framing of PostgreSQL's protocol, streams, the two ways to close.

It imports the standard library only, as ``proxy_process`` does.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["CHUNK", "Framing", "Stream", "close", "statement"]

CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
_NEGOTIATION = (80877103, 80877104)  # SSLRequest and GSSENCRequest; PostgreSQL manual, "Message Formats"
_LONGEST_START = 10000  # bytes; what seems longer is TLS


class Framing:
    """Bytes of PostgreSQL's protocol in, whole messages out; TLS goes through as it is."""

    def __init__(self, *, started: bool) -> None:
        self._started = started  # from then on a message has a byte of its kind before its length
        self._encrypted = False
        self._buffer = bytearray()

    def messages(self, data: bytes) -> Iterator[bytes]:
        if self._encrypted:
            yield data
            return
        self._buffer += data
        while (size := self._size()) and len(self._buffer) >= size:
            message = bytes(self._buffer[:size])
            del self._buffer[:size]
            if not self._started:
                self._started = struct.unpack_from("!I", message, 4)[0] not in _NEGOTIATION
            yield message

    def _size(self) -> int:
        """Of the message at the front; 0 as long as that cannot be told."""
        head = int(self._started)
        if len(self._buffer) < head + 4:
            return 0
        size = int(struct.unpack_from("!I", self._buffer, head)[0]) + head
        if not self._started and size > _LONGEST_START:
            self._encrypted, self._started = True, True
            return len(self._buffer)
        return size


def statement(message: bytes) -> bytes:
    """The statement of a Query or a Parse in lower case, empty for any other message."""
    if message[:1] == b"Q":
        return message[5:-1].lower()
    return message[5:].partition(b"\0")[2].lower() if message[:1] == b"P" else b""


class Stream:
    """One direction of a link: what was read and is not sent yet."""

    def __init__(self, target: socket.socket) -> None:
        self.target = target
        self.size = 0
        self.blocked = False  # the target takes no more for now
        self.end = ""  # how the link ends when all is sent
        self._queue: deque[tuple[float, bytes]] = deque()  # moment at which it is due, and what

    def put(self, data: bytes, due: float) -> None:
        self._queue.append((due, data))
        self.size += len(data)

    def drip(self, data: bytes, size: int, pause: float) -> None:
        due = max(time.monotonic(), self._queue[-1][0] if self._queue else 0.0)
        for start in range(0, len(data), size):
            due += pause
            self.put(data[start : start + size], due)

    def release(self) -> None:
        """Make due all that is held back."""
        self._queue = deque((0.0, data) for _, data in self._queue)

    def send(self) -> float:
        """Send what is due; the moment at which more will be, infinite if no such moment is known."""
        self.blocked = False
        while self._queue:
            due, data = self._queue[0]
            if due > time.monotonic():
                return due
            try:
                sent = self.target.send(data)
            except BlockingIOError:
                self.blocked = True
                return math.inf
            self.size -= sent
            if sent < len(data):
                self._queue[0] = (due, data[sent:])
            else:
                self._queue.popleft()
        return math.inf


def close(end: socket.socket, how: str) -> None:
    """By RST, or by FIN: for that nothing may be left unread, or the kernel sends RST in any case."""
    if how == "rst":
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    else:
        end.setblocking(False)
        with suppress(OSError):
            while end.recv(CHUNK):
                pass
    end.close()
