"""The short form of ``make soak``, and its judge: that it sees each thing that must not be.

``PGDBPOOL_SEED`` repeats the faults of a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.measured import Book, Request
from tests.soak.judged import Bounds, Found, Sample, Struck, judged
from tests.soak.soak import soaked

BUSY = Bounds(answer=6.0, back=4.0, calm=3.0, gap=0.3, growth=8.0)  # a machine that does other things, too


@pytest.mark.slow
@pytest.mark.contract("4.no-thread-waits.1", "4.no-thread-waits.2", "4.a-write-that.1", "4.lost.1")
def test_a_few_faults_leave_nothing() -> None:
    """Whatever strikes, the ledger is exact, nobody waits beyond his limit, and all is as before when it is over."""
    seed = int(os.environ.get("PGDBPOOL_SEED") or random.SystemRandom().randrange(10**6))
    said: list[str] = []
    found = soaked(8.0, seed, said.append, every=2.0)
    assert judged(found, BUSY) == [], (f"PGDBPOOL_SEED={seed}", *said, *found.struck, found.facts)
    assert found.facts["counts"]["ok"] > 500


def made(*requests: Request, **other: Any) -> Found:
    """A soak of 40 s with one fault from 10 to 12, in which every half second a request succeeded."""
    ok = [Request("read", f"r{n}", n / 2, n / 2 + 0.1, "ok", "") for n in range(80)]
    same = Sample(0.0, 30.0, 20, 10, 9)
    words: dict[str, Any] = {
        "requests": sorted([*ok, *requests], key=lambda each: each.ended),
        "book": Book({}, 0),
        "struck": [Struck("fault", "", 10.0, 12.0)],
        "stopped": [],
        "samples": [replace_at(same, float(at)) for at in range(0, 40, 2)],
        "first": same,
        "last": replace_at(same, 40.0),
        "capacity": (8, 8),
        "objects": (20_000, 20_200),
    }
    return Found(**{**words, **other})


def replace_at(sample: Sample, at: float, **other: Any) -> Sample:
    return sample._replace(at=at, **other)


def failed(began: float, ended: float, outcome: str = "failed", kind: str = "insert") -> Request:
    return Request(kind, "key", began, ended, outcome, "an error")


def without(found: Found, began: float, ended: float) -> Found:
    """Nothing succeeded meanwhile."""
    return replace(found, requests=[each for each in found.requests if not began < each.ended < ended])


LAST = made().last
CASES: dict[str, Callable[[], Found]] = {
    "ledger: 1 acknowledged and lost": lambda: made(failed(1.0, 1.1, "ok")),
    "ledger: 1 failed but there": lambda: made(failed(10.0, 10.1), book=Book({"key": 1}, 0)),
    "ledger: 1 there twice": lambda: made(failed(1.0, 1.1, "ok"), book=Book({"key": 2}, 0)),
    "ledger: 1 half a transfer": lambda: made(book=Book({}, 5)),
    "ledger: 1 wrong answers": lambda: made(failed(10.0, 10.1, "wrong", "read")),
    "1 requests hang": lambda: made(failed(10.0, 11.0, "hung")),
    "1 requests took longer than their limit, up to 5.30 s": lambda: made(failed(10.0, 15.3)),
    "2.5 s without a success, beside all faults": lambda: without(made(), 20.0, 22.1),
    "1 requests failed when all was well again": lambda: made(failed(14.5, 14.6)),
    "the GIL was held for 0.20 s, 20.0 s after the beginning": lambda: made(gaps=[(20.0, 0.2)]),
    "20400 objects, 20000 at first": lambda: made(objects=(20_000, 20_400)),
    "capacity 7/8": lambda: made(capacity=(7, 8)),
    "24 descriptors, 20 at first": lambda: made(last=LAST._replace(descriptors=24)),
    "11 threads, 10 at first": lambda: made(last=LAST._replace(threads=11)),
    "8 sessions, 9 at first": lambda: made(last=LAST._replace(sessions=8)),
    "memory rises by 5.6 MB": lambda: made(
        samples=[LAST._replace(at=float(n), memory=30 + n / 5) for n in range(0, 40, 2)]
    ),
}


@pytest.mark.parametrize("problem", CASES)
def test_the_judge_sees(problem: str) -> None:
    """One thing that is not as it should be is one problem."""
    assert judged(CASES[problem]()) == [problem]


@pytest.mark.parametrize(
    "found",
    [
        made(),
        made(failed(9.9, 10.1), failed(11.0, 13.0, "doubt"), failed(13.9, 14.0)),
        made(failed(9.0, 15.6, kind="transfer")),
        made(failed(9.0, 15.0), stopped=[(10.0, 11.0)], gaps=[(9.99, 1.05)]),
        without(made(), 10.0, 12.4),
        made(failed(10.0, 10.1, "doubt"), book=Book({"key": 1}, 0)),
        made(samples=[LAST._replace(at=float(n), memory=30 + min(n, 10)) for n in range(0, 40, 2)]),
    ],
    ids=["calm", "failed in time", "a transaction", "stood still", "silent in a fault", "in doubt", "grown at first"],
)
def test_the_judge_allows(found: Found) -> None:
    """What a fault explains is no problem."""
    assert judged(found) == []
