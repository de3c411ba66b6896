"""The process of ``proxy.Proxy``: one loop between the clients and a PostgreSQL.

It is ordered by JSON lines on its standard input, ``[name, argument, …]``, answers each by a line with its result when
it is done, and ends when that input is closed. It imports neither pgdbpool nor psycopg2.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.faults.proxy_streams import CHUNK, Framing, Stream, close, statement

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_HELD = 1 << 20  # bytes: a stream that holds back more is read no further


@dataclass
class Strike:
    """A fault for single connections that is armed: the next ``times`` that it fits."""

    how: str
    times: int
    after_bytes: int = 0
    text: bytes = b""
    when: str = ""


class Link:
    """One connection through the proxy: two sockets, a stream in each direction."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self.alarm = math.inf  # the next moment at which it has to be pumped
        self._relay, self._client, self._server = relay, client, server
        self._up, self._down = Stream(server), Stream(client)
        self._watched = {client: 0, server: 0}
        self._framing = Framing(started=False)
        self._connected = self._closed = self._hung = self._muted = False
        self._answer: Framing | None = None  # of the query that was struck, while its answer is awaited
        self._ending = "fin"  # how it ends after that answer
        self._cut: tuple[int, str] | None = None  # bytes that may still go to the client, and how it ends then

    def ready(self, end: socket.socket, events: int) -> None:
        """One of its sockets can be read or written."""
        events &= self._watched[end]  # something may have struck since the loop was told
        if events & _WRITE and not self._connected:
            if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.end("rst")
                return
            self._connected = True
        if events & _READ:
            self._read(end)
        self.pump()

    def pump(self) -> None:
        """Send what is due, end if that was the last, and see what to wait for."""
        if self._closed:
            return
        for stream in (self._up, self._down):
            if self._hung or self._relay.silent or not self._connected:
                break
            try:
                due = stream.send()
            except OSError:
                self.end("rst")
                return
            self._relay.wake(self, due)
            if stream.end and not stream.size:
                self.end(stream.end)
                return
        self._watch()

    def heal(self) -> None:
        self._cut = None
        self._up.release()
        self._down.release()
        self.pump()

    def end(self, how: str) -> None:
        if how == "hang":
            self._hung = True
            self._watch()
        elif how == "half":
            self._muted, self._down = True, Stream(self._client)
            with suppress(OSError):  # the client has ended it
                self._client.shutdown(socket.SHUT_WR)
        elif not self._closed:
            self._closed = self._hung = True
            self._watch()
            self._relay.links.discard(self)
            for each in (self._client, self._server):
                close(each, how)

    # -- reading

    def _read(self, source: socket.socket) -> None:
        try:
            data = source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.end("rst")
            return
        if not data:
            (self._up if source is self._client else self._down).end = self._ending
        elif source is self._client:
            self._asked(data)
        else:
            self._answered(data)

    def _asked(self, data: bytes) -> None:
        passing = []
        for message in self._framing.messages(data):
            strike = self._relay.strike_on(message)
            if strike and strike.when == "before":
                self._up.end = strike.how
                self._relay.struck += 1
                break
            if strike:
                self._answer, self._ending = Framing(started=True), strike.how
            passing.append(message)
        if passing:
            self._up.put(b"".join(passing), self._relay.due())

    def _answered(self, data: bytes) -> None:
        if self._answer:
            if any(message[:1] == b"Z" for message in self._answer.messages(data)):  # ReadyForQuery
                self._relay.struck += 1
                self._answer = None
                self.end(self._ending)
        elif not self._muted:
            data = self._shortened(data)
            if self._relay.dripping:
                self._down.drip(data, *self._relay.dripping)
            elif data:
                self._down.put(data, self._relay.due())

    def _shortened(self, data: bytes) -> bytes:
        """What a cut leaves of an answer."""
        self._cut = self._cut or self._relay.next_cut()
        if self._cut is None:
            return data
        left, how = self._cut
        if len(data) >= left:
            self._down.end = how
            self._relay.struck += 1
        self._cut = (max(0, left - len(data)), how)
        return data[:left]

    # -- waiting

    def _watch(self) -> None:
        """Have the loop wait for what each socket can do now."""
        silent = self._hung or self._relay.silent
        for end, coming, going in ((self._client, self._up, self._down), (self._server, self._down, self._up)):
            reads = not coming.end and coming.size < _HELD and (self._connected or end is self._client)
            writes = going.blocked or (end is self._server and not self._connected)
            events = 0 if silent else _READ * reads | _WRITE * writes
            if events != self._watched[end]:
                self._relay.watch(end, self._watched[end], events, partial(self.ready, end))
                self._watched[end] = events


class Relay:
    """The loop, the links, and what is wrong with the network; an order is one of its last methods."""

    def __init__(self, host: str, port: int) -> None:
        self.links: set[Link] = set()
        self.silent = False
        self.dripping: tuple[int, float] | None = None
        self.struck = 0
        self._target = (host, port)
        self._delay = 0.0
        self._ending = ""  # what becomes of a new connection
        self._cuts: list[Strike] = []
        self._triggers: list[Strike] = []
        self._accepted = 0
        self._alarms: list[tuple[float, int, Link]] = []
        self._serial = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._place = _bound(0)  # keeps the port ours while nobody listens on it
        self._listener: socket.socket | None = None
        self._listening = False
        self._open = True
        self._listen(True)

    # -- the loop

    def run(self) -> None:
        orders = bytearray()
        self.watch(sys.stdin, 0, _READ, lambda _: self._hear(orders))
        while self._open:
            for key, events in self._selector.select(self._patience()):
                key.data(events)
            while self._alarms and self._alarms[0][0] <= time.monotonic():
                link = heapq.heappop(self._alarms)[2]
                link.alarm = math.inf
                link.pump()

    def _patience(self) -> float | None:
        return max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None

    def watch(self, what: Any, before: int, events: int, call: Any) -> None:
        if not before:
            self._selector.register(what, events, call)
        elif not events:
            self._selector.unregister(what)
        else:
            self._selector.modify(what, events, call)

    def wake(self, link: Link, moment: float) -> None:
        if moment < link.alarm:
            link.alarm = moment
            heapq.heappush(self._alarms, (moment, next(self._serial), link))

    def _hear(self, orders: bytearray) -> None:
        data = os.read(sys.stdin.fileno(), CHUNK)
        self._open = bool(data)
        orders += data
        while b"\n" in orders:
            line, _, rest = orders.partition(b"\n")
            orders[:] = rest
            name, *arguments = json.loads(line)
            result = getattr(self, name)(*arguments)
            os.write(sys.stdout.fileno(), json.dumps(result).encode() + b"\n")

    # -- new connections

    def _listen(self, listening: bool) -> None:
        """Whether new connections are taken up; the kernel makes them in any case, while there is a listener."""
        if self._listener is None:
            self._listener = _bound(self.port())
            self._listener.listen(4096)
        if listening != self._listening:
            self.watch(self._listener, _READ * self._listening, _READ * listening, lambda _: self._accept())
            self._listening = listening

    def _accept(self) -> None:
        """Take up whoever waits, unless an order has just ended that."""
        with suppress(BlockingIOError):
            while self._listener and self._listening:
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        self._accepted += 1
        if self._ending:
            close(client, self._ending)
            return
        server = socket.socket()
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(self._target)  # a failure shows when it can be written
        link = Link(self, client, server)
        self.links.add(link)
        link.pump()

    # -- what links ask

    def due(self) -> float:
        """The moment at which what was read now is sent on."""
        return time.monotonic() + self._delay if self._delay else 0.0

    def next_cut(self) -> tuple[int, str] | None:
        strike = _taken(self._cuts, self._cuts[0]) if self._cuts else None
        return (strike.after_bytes, strike.how) if strike else None

    def strike_on(self, message: bytes) -> Strike | None:
        if not self._triggers or not (text := statement(message)):
            return None
        found = next((each for each in self._triggers if each.text in text), None)
        return _taken(self._triggers, found) if found else None

    # -- orders

    def port(self) -> int:
        return int(self._place.getsockname()[1])

    def delay(self, seconds: float) -> None:
        self._delay = seconds

    def drip(self, size: int, pause: float) -> None:
        self.dripping = (size, pause)

    def blackhole(self) -> None:
        self.silent = True
        self._listen(False)
        for link in list(self.links):
            link.pump()

    def deaf(self) -> None:
        self._listen(False)

    def refuse(self) -> None:
        self.deaf()
        assert self._listener is not None
        self._listener.close()
        self._listener = None

    def hang_up(self, how: str) -> None:
        self._ending = how
        self._listen(True)

    def heal(self) -> None:
        self._delay, self.dripping, self.silent, self._ending = 0.0, None, False, ""
        self._cuts.clear()
        self._triggers.clear()
        self._listen(True)
        for link in list(self.links):
            link.heal()

    def point_at(self, port: int) -> None:
        self._target = (self._target[0], port)

    def end_all(self, how: str) -> None:
        for link in list(self.links):
            link.end(how)

    def cut(self, after_bytes: int, how: str, times: int) -> None:
        self._cuts.append(Strike(how, times, after_bytes=after_bytes))

    def on(self, text: str, when: str, how: str, times: int) -> None:
        self._triggers.append(Strike(how, times, text=text.lower().encode(), when=when))

    def seen(self) -> dict[str, int]:
        return {"accepted": self._accepted, "open": len(self.links), "struck": self.struck}


def _taken(armed: list[Strike], strike: Strike) -> Strike:
    """One of its times."""
    strike.times -= 1
    if not strike.times:
        armed.remove(strike)
    return strike


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setblocking(False)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found


if __name__ == "__main__":
    Relay(sys.argv[1], int(sys.argv[2])).run()
