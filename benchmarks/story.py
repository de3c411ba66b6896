"""What became of every request while one of several servers was lost and came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pgdbpool
from benchmarks.crowd import Crowd
from benchmarks.faults import Fault
from pgdbpool.engine.owners import present_owner

__all__ = ["LASTS", "PATIENCE", "WHOLE", "Request", "Story", "Take", "ask", "observe", "of_pool"]

_BEFORE = 0.7  # seconds under load before the fault
LASTS = 5.0  # seconds: longer than any limit that frees a request from a frozen server by default
PATIENCE = 12.0  # seconds in which its share may return
_GLANCE = 0.5  # seconds over which a share is counted
WHOLE = 0.9  # of its share before the fault

# Takes a connection, and gives the label of its server and the call that runs one statement on it.
Take = Callable[[], AbstractContextManager[tuple[str, Callable[[], Any]]]]


class Request(NamedTuple):
    """``label``: the server, empty where no connection was to be had; times are monotonic."""

    label: str
    asked: float
    taken: float
    ended: float
    failed: bool


class Story(NamedTuple):
    """``in_flight``: the most requests at once on the lost server, from the moment at which the fault struck.

    ``errors``: of all requests, wherever they went. ``last``: seconds until the last request was sent to the lost
    server. ``wait`` and ``answer``: the longest wait for a connection, and the longest request on it, in ms. ``lull``: the
    longest time without an answer of the other servers, in ms. ``back``: seconds from the end of the fault until the
    server's share is ``whole`` again, or ``PATIENCE``.
    """

    in_flight: int
    errors: int
    last: float
    wait: float
    answer: float
    lull: float
    back: float


def observe(take: Take, threads: int, fault: Fault, lost: str, *, lasts: float = LASTS, whole: float = WHOLE) -> Story:
    """Threads that ask without a pause before, during and after the fault, which strikes the server labelled ``lost``."""
    logs: list[list[Request]] = [[] for _ in range(threads)]
    with Crowd(lambda number: partial(ask, take, logs[number]), threads):
        time.sleep(_BEFORE)
        struck = time.monotonic()
        try:
            fault.strike()
            time.sleep(max(0.0, struck + lasts - time.monotonic()))
        finally:
            mending = time.monotonic()
            fault.mend()
        back = _until_back(logs, lost, whole * _share(logs, lost, struck - _BEFORE / 2, struck))
    touched = [each for log in logs for each in log if each.ended > struck]
    during = [each for each in touched if each.asked < mending]
    on_it = [each for each in during if each.label == lost and each.taken < mending]
    elsewhere = sorted(each.ended for each in during if each.label != lost and not each.failed and each.ended < mending)
    return Story(
        in_flight=_most_at_once(on_it),
        errors=sum(each.failed for each in touched),
        last=max([0.0, *(each.taken - struck for each in on_it)]),
        wait=max(each.taken - each.asked for each in during) * 1000,
        answer=max(each.ended - each.taken for each in during) * 1000,
        lull=max(later - earlier for earlier, later in pairwise([struck, *elsewhere, mending])) * 1000,
        back=back,
    )


def of_pool(pool: pgdbpool.Pool, sql: str, group: str | None = None) -> Take:
    """pgdbpool's handler; which server it is on is asked of the pool's own books, because a lost one gives no answer."""

    @contextmanager
    def take() -> Iterator[tuple[str, Callable[[], Any]]]:
        with pool.handler(group) as db:
            yield present_owner().taken.shelf.source.label, partial(db.query, sql)

    return take


def ask(take: Take, log: list[Request]) -> None:
    label, taken, failed = "", 0.0, False
    asked = time.monotonic()
    try:
        with take() as (label, run):
            taken = time.monotonic()
            run()
    except Exception:
        failed = True
    ended = time.monotonic()
    log.append(Request(label, asked, taken or ended, ended, failed))


def _most_at_once(requests: Iterable[Request]) -> int:
    events = sorted([(each.taken, 1) for each in requests] + [(each.ended, -1) for each in requests])
    most = now = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


def _until_back(logs: Sequence[Sequence[Request]], lost: str, share: float) -> float:
    mended = time.monotonic()
    while (now := time.monotonic()) < mended + PATIENCE:
        if now > mended + _GLANCE and _share(logs, lost, now - _GLANCE, now) >= share:
            return now - mended
        time.sleep(_GLANCE / 5)
    return PATIENCE


def _share(logs: Sequence[Sequence[Request]], label: str, since: float, until: float) -> float:
    """That server's part of all requests that were answered in a span of time."""
    seen = [each.label for log in logs for each in log if since < each.ended < until and not each.failed]
    return seen.count(label) / max(1, len(seen))
