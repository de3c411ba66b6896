"""Clients that write in one request and read that in the next one, over several gunicorn workers."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

__all__ = ["Client", "Pair", "pairs"]

_CLIENTS = 8
_numbers = itertools.count(1)


class Pair(NamedTuple):
    """The workers' process ids, whether the write was seen, and the server that was read from."""

    writer: int
    reader: int
    seen: bool
    server: str


class Client:
    """It keeps its cookie, and comes over a new connection each time, so that any worker may serve it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookie = ""

    def get(self, path: str) -> list[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", path, headers={"Cookie": self.cookie} if self.cookie else {})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body!r}")
        if said := response.getheader("Set-Cookie"):
            self.cookie = said.partition(";")[0]
        return list(json.loads(body))


def pairs(port: int, count: int, between: Callable[[str], None] = lambda cookie: None) -> list[Pair]:
    """``between`` gets the cookie after the write, and returns when the read is due."""

    def client(_: int) -> list[Pair]:
        browser = Client(port)
        return [_pair(browser, between) for _ in range(count // _CLIENTS)]

    with ThreadPoolExecutor(_CLIENTS) as threads:
        return [pair for found in threads.map(client, range(_CLIENTS)) for pair in found]


def _pair(browser: Client, between: Callable[[str], None]) -> Pair:
    number = next(_numbers)
    [writer] = browser.get(f"/write/{number}")
    between(browser.cookie)
    reader, seen, server = browser.get(f"/{number}")
    return Pair(writer, reader, seen == 1, server)
