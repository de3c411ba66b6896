"""A fork of a process whose pool is warm and at work: parent and child ask at once."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from typing import Any

from tests.faults.client.holding import pids_at_once
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, in_thread, said

__all__ = ["forked"]

_THREADS = 16


class _Crowd:
    """Threads that ask, each for its own key, until they have asked often enough."""

    def __init__(self, peer: Peer, name: str, requests: int) -> None:
        self._peer, self._name, self._requests = peer, name, requests
        self.pids: set[int] = set()
        self._right = self._wrong = 0
        self._errors: list[str] = []
        self.at_work = threading.Event()
        self._threads = [in_thread(self._run, number) for number in range(_THREADS)]

    def _run(self, number: int) -> None:
        for step in range(self._requests):
            key = f"{self._name} {number}.{step}"
            try:
                [(told, pid)] = self._peer.query("SELECT %s, pg_backend_pid()", (key,))
            except Exception as error:
                self._errors.append(said(error))
                continue
            self._right += told == key
            self._wrong += told != key
            self.pids.add(pid)
            if step == 5:
                self.at_work.set()

    def result(self, seconds: float) -> dict[str, Any]:
        limit = time.monotonic() + seconds
        hung = sum(each.outcome(limit - time.monotonic()) is HUNG for each in self._threads)
        figures = {"right": self._right, "wrong": self._wrong, "failed": len(self._errors), "hung": hung}
        return {**figures, "pids": sorted(self.pids), "first": next(iter(self._errors), "")}


def forked(
    peer: Peer,
    setting: Setting,
    link: Link,
    *,
    requests: int,
    patience: float,
    ease: float,
    under_load: bool,
    **_: Any,
) -> list[list[Any]]:
    """``requests`` of each of 16 threads, in the parent and in the child; ``under_load``: the parent's begin before it."""
    patience *= ease
    before = pids_at_once(peer, setting.connections)
    if under_load:
        crowd = _Crowd(peer, "parent", requests)
        crowd.at_work.wait(5)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(peer, requests, patience, writer)
    os.close(writer)
    if not under_load:
        crowd = _Crowd(peer, "parent", requests)
    ours, theirs = crowd.result(patience), _told(reader, child, patience + 3.0)
    kept, shared = before & pids_at_once(peer, setting.connections), before & {*theirs["pids"]}
    expected = requests * _THREADS
    return [
        ["answers in the parent", ours["right"] == expected, _described(ours)],
        ["answers in the child", theirs["right"] == expected, _described(theirs)],
        ["the child's sessions", not shared, f"{len(shared)} are the parent's"],
        ["the parent's sessions", kept == before, f"{len(kept)} of {len(before)} are left"],
    ]


def _in_child(peer: Peer, requests: int, seconds: float, writer: int) -> None:
    try:
        os.write(writer, json.dumps(_Crowd(peer, "child", requests).result(seconds)).encode())
    finally:
        os._exit(0)


def _told(reader: int, child: int, seconds: float) -> dict[str, Any]:
    """What the child said; it is killed if it says nothing."""
    answered = select.select([reader], [], [], seconds)[0]
    if not answered:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return json.loads(data) if data else {"right": 0, "pids": [], "first": "it said nothing"}


def _described(found: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in found.items() if value and name != "pids")
