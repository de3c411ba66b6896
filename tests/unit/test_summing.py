"""Several workers' figures as of one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pgdbpool.report.history import History, together
from pgdbpool.report.summing import merge, past, present
from pgdbpool.waiting import Histogram

LABELS = ("db1:5432", "db2:5432")


def timing(*durations: float, over: float = 10.0) -> dict[str, Any]:
    counted = Histogram()
    counted.add(durations)
    buckets = {str(number): count for number, count in counted.buckets.items()}
    whole = {"count": counted.count, "seconds": counted.seconds, "longest": counted.longest}
    return {**whole, "buckets": buckets, "recent": dict(buckets), "over": over}


def server(in_use: int = 0, **more: Any) -> dict[str, Any]:
    gauges = {"connection_count": 4, "minimum": 1, "in_use": in_use, "idle": 4 - in_use, "cleaning": 0, "opening": 0}
    return {
        **gauges,
        "checkouts": 2 + in_use,
        "reads": 0,
        "hold": timing(0.01, 0.01),
        "statement": timing(0.01),
        **more,
    }


def worker(pid: int, *, at: float = 100.0, **more: Any) -> dict[str, Any]:
    """One worker's figures: a group at two servers."""
    endpoint = {"role": "primary", "state": "up", "lag_seconds": None, "lag_bytes": None, "timeline": 1, "connects": 2}
    endpoint |= {"connect_errors": 0, "last_error": None, "connect": timing(0.004)}
    standby = {**endpoint, "role": "standby", "lag_seconds": pid / 10, "lag_bytes": pid * 10}
    waits = {
        "waiting": 1,
        "waiting_for": pid / 10,
        "held_for": pid,
        "waits": 1,
        "timeouts": 1,
        "errors": 0,
        "unserved": None,
    }
    return {
        "format": 1,
        "at": at,
        "closed": False,
        "workers": [{"id": f"{pid:04x}", "pid": pid, "started": 1.0, "at": at, "serves": True}],
        "groups": {
            "web": {"servers": {LABELS[0]: server(1), LABELS[1]: server(reads=10)}, **waits, "wait": timing(0.5)}
        },
        "endpoints": {LABELS[0]: endpoint, LABELS[1]: standby},
        "holders": [],
        "events": [],
        "history": History().told(),
        "advice": [],
        **more,
    }


def event(at: float, kind: str = "down", about: str = "db1:5432", text: str = "cannot connect") -> dict[str, Any]:
    return {"at": at, "kind": kind, "about": about, "text": text, "workers": 1}


def holder(pid: int, seconds: float, **more: Any) -> dict[str, Any]:
    place = {"taken": f"/app.py:{pid} (f)", "now": None, "thread": "t", "state": None, "state_seconds": None}
    held = {"worker": 1, "group": "web", "server": LABELS[0], "backend_pid": pid, "seconds": seconds}
    return {**held, **place, "waits_for": None, "blocked_by": [], **more}


def test_what_is_there_and_what_was_counted_adds_up() -> None:
    """Connections, waiters and counters of all workers are added, and so are their buckets; the inputs stay as they were."""
    workers = [worker(1), worker(2), worker(3, at=99.0)]
    before = copy.deepcopy(workers)
    shown = present(merge(workers))
    web = shown["groups"]["web"]
    assert (web["connection_count"], web["in_use"], web["idle"], web["waiting"], web["timeouts"]) == (24, 3, 21, 3, 3)
    assert (web["checkouts"], web["hold"]["count"], web["wait"]["count"], web["waiting_for"]) == (15, 12, 3, 0.3)
    assert [each["pid"] for each in shown["workers"]] == [1, 2, 3]
    assert workers == before


def test_a_share_is_that_of_the_reads() -> None:
    """Which server serves which part of the reads; None where there were none."""
    shown = present(merge([worker(1)]))
    assert [each["share"] for each in shown["endpoints"].values()] == [0.0, 1.0]
    alone = worker(1)
    alone["groups"]["web"]["servers"][LABELS[1]]["reads"] = 0
    assert [each["share"] for each in present(merge([alone]))["endpoints"].values()] == [None, None]


def test_what_most_workers_say_of_a_server_counts() -> None:
    """Its state is what most say, of two opinions the worse; the lag is the largest; who knows nothing has no say."""
    workers = [worker(1), worker(2), worker(3)]
    for each, state in zip(workers, ("down", "up", "down"), strict=True):
        each["endpoints"][LABELS[1]]["state"] = state
    merged = merge([*workers, past([worker(4)])])["endpoints"][LABELS[1]]
    assert (merged["state"], merged["states"], merged["lag_seconds"]) == ("down", {"down": 2, "up": 1}, 0.3)
    workers[0]["endpoints"][LABELS[1]]["state"], workers[0]["at"] = "up", 101.0
    for pair in (workers[:1] + workers[2:], workers[2:] + workers[:1]):
        assert merge(pair)["endpoints"][LABELS[1]]["state"] == "down"


def test_of_the_dead_the_counters_stay() -> None:
    """Checkouts, timeouts and buckets of ended workers stay counted; their connections, waiters and holders are gone."""
    living, dead = worker(1), worker(2, holders=[holder(7, 1.0)])
    merged = merge([living, past([dead, worker(3)])])
    web = present(merged)["groups"]["web"]
    assert (web["checkouts"], web["timeouts"], web["hold"]["count"]) == (15, 3, 14)
    assert (web["in_use"], web["connection_count"], web["waiting"]) == (1, 8, 1)
    assert (merged["holders"], [each["pid"] for each in merged["workers"]]) == ([], [1])
    assert web["hold"]["rate"] == 0.4  # the dead one's last minute counts no more
    assert past([past([dead]), worker(3)])["groups"] == past([dead, worker(3)])["groups"]


def test_percentiles_count_who_did_not_wait() -> None:
    """Of a group whose checkouts mostly wait for nothing, the median wait is nothing."""
    wait = present(merge([worker(1)]))["groups"]["web"]["wait"]
    assert (wait["p50"], wait["p99"]) == (0.0, pytest.approx(0.5, rel=0.05))


def test_one_event_of_several_workers_is_one() -> None:
    """The same news of three workers within seconds is told once; a second time of the same worker is another event."""
    workers = [worker(each, events=[event(50.0 + each / 10), event(80.0)]) for each in (1, 2, 3)]
    workers[0]["events"].append(event(80.5, kind="back"))
    merged = merge(workers)["events"]
    assert [(each["kind"], each["workers"]) for each in merged] == [("down", 3), ("down", 3), ("back", 1)]
    twice = merge([worker(1, events=[event(50.0, "drain", text="drained"), event(50.1, "drain", text="back to work")])])
    assert [each["text"] for each in twice["events"]] == ["drained", "back to work"]


def test_a_clock_that_is_set_back() -> None:
    """The history begins anew then; and one of another year, laid on it, makes nobody write millions of gaps."""
    history, other = History(), History()
    noted(history, 100_000.0, 1)
    noted(history, 100_005.0, 1)
    noted(history, 50_000.0, 2)
    assert (history.told()["end"], history.told()["groups"]["web"]["in_use"]) == (50_000, [4])
    noted(other, 1_900_000_000.0, 3)
    assert together([history.told(), other.told()])["groups"]["web"]["in_use"][-1] == 6


def test_many_events_take_no_time() -> None:
    """A hundred long holds in each of thirty workers, all at about the same time, are merged at once."""
    workers = [worker(each, events=[event(50.0 + n / 100, "hold", "web") for n in range(100)]) for each in range(30)]
    assert len(merge(workers)["events"]) == 50
    workers = [worker(each, events=[event(50.0 + n / 100) for n in range(100)]) for each in range(30)]
    assert merge(workers)["events"][-1]["workers"] == 30


def test_each_long_hold_is_its_own() -> None:
    """Two workers' long holds of the same group are two events."""
    workers = [worker(each, events=[event(50.0, "hold", "web")]) for each in (1, 2)]
    assert [each["workers"] for each in merge(workers)["events"]] == [1, 1]


def test_a_blocker_of_ours_has_its_place() -> None:
    """Who is blocked by a connection that another worker holds is told by which line of code."""
    blocked = holder(8, 2.0, blocked_by=[{"pid": 7, "who": "pgdbpool:web"}, {"pid": 9, "who": "psql"}])
    shown = present(merge([worker(1, holders=[blocked]), worker(2, holders=[holder(7, 3.0)])]))
    assert [each["backend_pid"] for each in shown["holders"]] == [7, 8]
    assert [each["place"] for each in shown["holders"][1]["blocked_by"]] == ["/app.py:7 (f)", None]


def test_the_pool_is_ready_where_any_worker_can_serve_any_group() -> None:
    """closed, ready, not ready."""
    away = worker(1)
    away["groups"]["web"]["unserved"] = "db1:5432 down"
    assert present(merge([away]))["pool"] == "not ready"
    assert present(merge([away, worker(2)]))["pool"] == "ready"
    assert present(merge([worker(1, closed=True)]))["pool"] == "closed"


# -- history ----------------------------------------------------------------------------------------------------------


def noted(history: History, at: float, in_use: int, *holds: float) -> None:
    figures = worker(1, at=at)
    for each in figures["groups"]["web"]["servers"].values():
        each["in_use"], each["hold"] = in_use, timing(*holds)
    figures["groups"]["web"]["wait"] = timing()
    if history.is_due(at):
        history.note(figures)


def test_a_point_every_five_seconds() -> None:
    """At most one point a step; the percentiles are of what came since the last one."""
    history = History()
    noted(history, 100.0, 1, 0.1)
    noted(history, 103.0, 9, 0.1, 3.0)
    noted(history, 105.2, 2, 0.1, 2.0)
    told = history.told()
    assert (told["step"], told["end"]) == (5, 105)
    assert told["groups"]["web"]["in_use"] == [2, 4]
    assert told["groups"]["web"]["hold_p95"] == pytest.approx([0.1, 2.0], rel=0.05)
    assert told["groups"]["web"]["wait_p95"] == [0.0, 0.0]
    assert told["groups"]["web"]["timeouts"] == [1, 0]


def test_what_nobody_looked_at_is_unknown() -> None:
    """A gap in time is a gap in the line."""
    history = History()
    noted(history, 100.0, 1)
    noted(history, 115.0, 2)
    assert history.told()["groups"]["web"]["in_use"] == [2, None, None, 4]


def test_histories_of_workers_are_laid_on_each_other() -> None:
    """By time, not by length: connections are added, of the percentiles the worst counts."""
    one, other = History(), History()
    for at in (100.0, 105.0, 110.0):
        noted(one, at, 1, 0.1)
    noted(other, 105.0, 3, 1.0)
    joined = together([one.told(), other.told()])
    assert joined["end"] == 110
    assert joined["groups"]["web"]["in_use"] == [2, 8, 2]
    assert joined["groups"]["web"]["hold_p95"][1] == pytest.approx(1.0, rel=0.05)
    assert together([]) == {"step": 5, "end": 0, "groups": {}}
