"""gunicorn with ``--preload``, reloaded, ended, and its workers killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.serving import Gunicorn, served, within
from tests.faults.client.trying import Outcome, at_once, in_thread, said, tried

__all__ = ["ended", "killed", "preloaded"]

_REQUESTS = 300
_WORKERS = ("--workers", "2", "--threads", "8")


def preloaded(
    peer: Peer, setting: Setting, link: Link, *, admin: dict[str, Any], patience: float, ease: float, **_: Any
) -> list[list[Any]]:
    """A warm pool in the arbiter, and requests by eight clients to its two workers."""
    peer.close()
    with served(peer, setting, admin, "--preload", "--workers", "2", "--threads", "4") as gunicorn:
        within(30.0, lambda: gunicorn.log().count("Booting worker") == 2)
        told = _asked(gunicorn, patience * ease, 2.0 * ease)
    right = sum(each.value == key for key, each in told.items())
    wrong = sum(each.error is None for each in told.values()) - right
    failed = [each.error for each in told.values() if each.error]
    note = "".join(f", {number} {name}" for name, number in (("wrong", wrong), ("failed", len(failed))) if number)
    first = f" ({said(failed[0])})" if failed else ""
    return [["answers", right == _REQUESTS, f"{right} right of {_REQUESTS}{note}{first}"]]


def _asked(gunicorn: Gunicorn, patience: float, each: float) -> dict[str, Outcome]:
    """What became of the requests; those that nobody came to in time are missing."""
    limit, keys, told = time.monotonic() + patience, iter(map(str, range(_REQUESTS))), dict[str, Outcome]()

    def ask(_: int) -> None:
        for key in keys:
            if time.monotonic() > limit:
                return
            told[key] = tried(gunicorn.get, key, 0.02, each)  # long enough for both workers to have some

    at_once(8, ask, patience + each + 1.0)
    return told


def ended(
    peer: Peer, setting: Setting, link: Link, *, admin: dict[str, Any], patience: float, ease: float, **_: Any
) -> list[list[Any]]:
    """Reloaded and ended with short requests under way; at the same time another one is ended with long ones."""
    peer.close()
    short = in_thread(_reloaded_and_ended, peer, setting, admin, 1.0 * ease)
    long = in_thread(_ended_in_mid_query, peer, setting, admin, patience * ease)
    return [case for each in (short, long) for case in _cases(each.outcome(120.0))]


def _cases(outcome: Outcome) -> list[list[Any]]:
    if outcome.error:
        raise outcome.error
    return list(outcome.value)


def _reloaded_and_ended(peer: Peer, setting: Setting, admin: dict[str, Any], patience: float) -> list[list[Any]]:
    with served(peer, setting, admin, *_WORKERS, "--graceful-timeout", "10") as gunicorn:
        before = gunicorn.workers()
        under_way = gunicorn.asleep(8, 1.0)
        gunicorn.signal(signal.SIGHUP)
        reloaded = _answered("SIGHUP", under_way)
        within(30.0, lambda: len(now := gunicorn.workers()) == 2 and not now & before)
        under_way = gunicorn.asleep(8, 1.0)
        gunicorn.signal(signal.SIGTERM)
        ended = _answered("SIGTERM", under_way)
        gunicorn.wait(30.0)
        return [reloaded, ended, _gone("sessions after the exit", gunicorn.sessions, patience)]


def _answered(what: str, requests: list[in_thread]) -> list[Any]:
    told = [each.outcome(30.0) for each in requests]
    right = sum(each.value == str(number) for number, each in enumerate(told))
    first = next((f" ({said(each.error)})" for each in told if each.error), "")
    return [f"{what} with requests under way", right == len(told), f"{right} right of {len(told)}{first}"]


def _ended_in_mid_query(peer: Peer, setting: Setting, admin: dict[str, Any], patience: float) -> list[list[Any]]:
    """Queries that last longer than gunicorn's patience: what its end cuts off ends at the server as well."""
    with served(peer, setting, admin, *_WORKERS, "--graceful-timeout", "1") as gunicorn:
        gunicorn.asleep(8, 12.0)
        gunicorn.signal(signal.SIGTERM)
        gunicorn.wait(30.0)
        return [_gone("sessions after SIGTERM in mid query", gunicorn.sessions, patience)]


def killed(
    peer: Peer, setting: Setting, link: Link, *, admin: dict[str, Any], patience: float, ease: float, **_: Any
) -> list[list[Any]]:
    """SIGKILL of the workers: their queries end at the server."""
    peer.close()
    with served(peer, setting, admin, *_WORKERS) as gunicorn:
        gunicorn.asleep(8, 30.0)
        running = gunicorn.sessions("active")
        for worker in gunicorn.workers():
            os.kill(worker, signal.SIGKILL)
        return [_gone("running queries", lambda: running & gunicorn.sessions("active"), patience * ease)]


def _gone(what: str, sessions: Callable[[], set[int]], seconds: float) -> list[Any]:
    began = time.monotonic()
    within(seconds, lambda: not sessions())
    took, left = time.monotonic() - began, len(sessions())
    return [what, not left, f"{left} left after {seconds:g} s" if left else f"gone after {took:.1f} s"]
