"""A load generator: ``python -m benchmarks.load PORT CLIENTS SECONDS`` writes what it saw as JSON.

Each client keeps one connection alive and sends its next request when the answer has come, for as many seconds.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time

from benchmarks.server import ROWS

_SETTLE = 0.2  # seconds that are not counted
_SILENCE = 10.0  # seconds after which a server that does not answer is an error
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Client:
    """One connection, with at most one request under way."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = number
        self._answer = b""
        self.asked = 0.0

    def ask(self) -> None:
        self._number = self._number % ROWS + 1
        self._answer = b""
        self.asked = time.perf_counter()
        self.socket.sendall(b"GET /%d HTTP/1.1\r\nHost: bench\r\n\r\n" % self._number)

    def answered(self) -> bool:
        """Read what is there; true when that was the rest of the answer."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server hung up after {self._answer!r}")
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the server answered {head!r}")
        length = _LENGTH.search(head)
        return len(body) >= int(length[1] if length else 0)


def drive(port: int, clients: int, seconds: float) -> list[float]:
    """Seconds that each answer took, of those that came after the first moments."""
    selector, took = selectors.DefaultSelector(), []
    for number in range(clients):
        client = Client(port, number * 7)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    began = time.perf_counter() + _SETTLE
    while (now := time.perf_counter()) < began + seconds:
        ready = selector.select(_SILENCE)
        if not ready:
            raise TimeoutError(f"no answer within {_SILENCE:g} s")
        for key, _ in ready:
            if key.data.answered():
                if now >= began:
                    took.append(time.perf_counter() - key.data.asked)
                key.data.ask()
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return took


def main(port: str, clients: str, seconds: str) -> None:
    took = sorted(drive(int(port), int(clients), float(seconds)))
    if not took:
        raise TimeoutError(f"no answer within {seconds} s")
    at = {name: took[int(len(took) * share)] * 1000 for name, share in (("median", 0.5), ("p99", 0.99))}
    json.dump({"rate": len(took) / float(seconds), **at, "worst": took[-1] * 1000}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
