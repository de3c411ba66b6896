"""Figures of several workers taken together, and put as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import fsum
from time import time
from typing import Any

from pgdbpool.report.advice import size_advice
from pgdbpool.report.history import together
from pgdbpool.waiting import Histogram
from pgdbpool.workers import FORMAT

Figures = dict[str, Any]

_GAUGES = ("connection_count", "minimum", "in_use", "idle", "cleaning", "opening")
_LONGEST = ("waiting_for", "held_for")  # seconds
_COUNTERS = ("checkouts", "reads")
_EVENTS = 50  # of servers, and of connections
_HOLDERS = 50
_LONG_ENOUGH = 60  # points of the history: five minutes
_ALIKE = 3.0  # seconds in which several workers tell of the same event
_WELL = ("up", "full")
_OWN = ("hold", "taken back")  # each worker's own affairs


def merge(all_figures: Sequence[Figures], *, history: bool = True) -> Figures:
    """One process's figures, or several's, as of one: gauges and counters summed, buckets too. At least one is needed."""
    newest = sorted(all_figures, key=lambda each: -each["at"])
    return {
        "format": newest[0]["format"],
        "at": newest[0]["at"],
        "closed": all(each["closed"] for each in newest),
        "workers": [worker for each in newest for worker in each["workers"]],
        "groups": _by_name(newest, "groups", _group),
        "endpoints": _by_name(newest, "endpoints", _endpoint),
        "holders": sorted((each for one in newest for each in one["holders"]), key=lambda each: -each["seconds"])[
            :_HOLDERS
        ],
        "events": _events([each["events"] for each in newest]),
        "history": together([each["history"] for each in newest] if history else []),
        "advice": list(dict.fromkeys(line for each in newest for line in each["advice"])),
    }


def nothing() -> Figures:
    """As ``merge``, where there is no pool."""
    named: Figures = {"groups": {}, "endpoints": {}, "history": together([])}
    told: Figures = {"workers": [], "holders": [], "events": [], "advice": []}
    return {"format": FORMAT, "at": time(), "closed": False, "alone": None, **named, **told}


def past(all_figures: Sequence[Figures]) -> Figures:
    """Of workers that have ended: what was counted stays, what was there is gone."""
    left = merge(all_figures)
    for group in left["groups"].values():
        group.update(waiting=0, unserved="", **dict.fromkeys(_LONGEST, 0.0))
        _forget(group["wait"])
        for server in group["servers"].values():
            server.update(dict.fromkeys(_GAUGES, 0))
            _forget(server["hold"], server["statement"])
    for endpoint in left["endpoints"].values():
        endpoint.update(
            role="unknown", state="unknown", lag_seconds=None, lag_bytes=None, timeline=None, last_error=None
        )
        _forget(endpoint["connect"])
    return {**left, "workers": [], "holders": [], "advice": []}


def _forget(*timings: Figures) -> None:
    for timing in timings:
        timing.update(recent={}, over=0.0)


def _by_name(figures: Sequence[Figures], part: str, join: Any) -> dict[str, Any]:
    names = dict.fromkeys(name for each in reversed(figures) for name in each[part])
    return {name: join([each[part][name] for each in figures if name in each[part]]) for name in names}


def _group(groups: Sequence[Figures]) -> Figures:
    return {
        "servers": _by_name(groups, "servers", _server),
        **{name: max(each[name] for each in groups) for name in _LONGEST},
        "unserved": _why([each["unserved"] for each in groups]),
        **_summed(groups, ("waiting", "waits", "timeouts", "errors")),
        "wait": _timing([each["wait"] for each in groups]),
    }


def _why(unserved: Sequence[str | None]) -> str | None:
    return None if None in unserved else next(filter(None, unserved), "")


def _server(servers: Sequence[Figures]) -> Figures:
    timings = {name: _timing([each[name] for each in servers]) for name in ("hold", "statement")}
    return {**_summed(servers, _GAUGES + _COUNTERS), **timings}


def _summed(figures: Iterable[Figures], names: Iterable[str]) -> dict[str, int]:
    figures = list(figures)
    return {name: sum(each[name] for each in figures) for name in names}


def _endpoint(endpoints: Sequence[Figures]) -> Figures:
    """What most workers say of it, of two opinions the worse, and the largest lag."""
    knowing = [each for each in endpoints if each["state"] != "unknown"] or list(endpoints)
    states = Counter(each["state"] for each in knowing)
    state = max(states, key=lambda each: (states[each], each not in _WELL))
    said = next(each for each in knowing if each["state"] == state)
    errors = [each["last_error"] for each in (said, *endpoints) if each["last_error"]]
    return {
        **{name: said[name] for name in ("role", "state", "timeline")},
        **{name: _largest(each[name] for each in knowing) for name in ("lag_seconds", "lag_bytes")},
        "states": dict(states),
        **_summed(endpoints, ("connects", "connect_errors")),
        "last_error": errors[0] if errors else None,
        "connect": _timing([each["connect"] for each in endpoints]),
    }


def _largest(values: Iterable[Any]) -> Any:
    return max((each for each in values if each is not None), default=None)


def _timing(timings: Sequence[Figures]) -> Figures:
    return {
        "count": sum(each["count"] for each in timings),
        "seconds": fsum(each["seconds"] for each in timings),  # the same in any order
        "longest": max(each["longest"] for each in timings),
        "buckets": _buckets(each["buckets"] for each in timings),
        "recent": _buckets(each["recent"] for each in timings),
        "over": max(each["over"] for each in timings),
    }


def _buckets(all_buckets: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for buckets in all_buckets:  # in half the time of Counter.update
        for number, count in buckets.items():
            total[number] = total.get(number, 0) + count
    return total


def _events(of_each: Sequence[list[Figures]]) -> list[Figures]:
    """Oldest first; what several workers tell alike at about the same time is one event."""
    found: list[tuple[Figures, set[int]]] = []
    told = [(event, worker) for worker, events in enumerate(of_each) for event in events]
    latest: dict[tuple[str, str], list[tuple[Figures, set[int]]]] = {}  # by kind and what they are about
    for event, worker in sorted(told, key=lambda each: float(each[0]["at"])):
        alike = latest.setdefault((event["kind"], event["about"]), [])
        alike[:] = [each for each in alike if event["at"] - each[0]["at"] < _ALIKE]
        before = next((each for each in alike if worker not in each[1]), None)
        if before is None:
            found.append((dict(event), {worker}))
            if event["kind"] not in _OWN:
                alike.append(found[-1])
        else:
            before[0]["workers"] += event["workers"]
            before[1].add(worker)
    kept = [[event for event, _ in found if (event["kind"] in _OWN) is own][-_EVENTS:] for own in (False, True)]
    return sorted(kept[0] + kept[1], key=lambda each: float(each["at"]))


# -- for people -------------------------------------------------------------------------------------------------------


def present(merged: Figures) -> Figures:
    """Percentiles in place of buckets, and each group's totals."""
    groups = present_groups(merged["groups"])
    places = {(each["server"], each["backend_pid"]): each["taken"] or each["now"] for each in merged["holders"]}
    return {
        **merged,
        "pool": _state(merged),
        "groups": groups,
        "endpoints": present_endpoints(merged["endpoints"], groups),
        "holders": [_blocked(each, places) for each in merged["holders"]],
        "advice": [*merged["advice"], *_sizes(groups, merged)],
    }


def _state(merged: Figures) -> str:
    if merged["closed"]:
        return "closed"
    return "ready" if any(group["unserved"] is None for group in merged["groups"].values()) else "not ready"


def _presented(group: Figures) -> Figures:
    servers = group["servers"].values()
    total = _summed(servers, _GAUGES + _COUNTERS)
    hold = _timing([each["hold"] for each in servers])
    lately = max(0, sum(hold["recent"].values()) - sum(group["wait"]["recent"].values()))
    return {
        **total,
        **{name: group[name] for name in ("waiting", *_LONGEST, "timeouts", "errors", "unserved")},
        "wait": percentiles(group["wait"], at_once=lately),
        "hold": percentiles(hold) | _ended(total),
        "statement": percentiles(_timing([each["statement"] for each in servers])),
        "servers": {label: _read(each) for label, each in group["servers"].items()},
    }


def _read(server: Figures) -> Figures:
    return {
        **server,
        "hold": percentiles(server["hold"]) | _ended(server),
        "statement": percentiles(server["statement"]),
    }


def _ended(of: Figures) -> dict[str, int]:
    """How many holds have ended, at the same moment as the connections were looked at."""
    return {"count": of["checkouts"] - of["in_use"]}


def present_groups(groups: Figures) -> Figures:
    return {name: _presented(group) for name, group in groups.items()}


def present_endpoints(endpoints: Figures, groups: Figures) -> Figures:
    """``groups``: as presented."""
    reads = {label: _at(label, groups, "reads") for label in endpoints}
    total = sum(reads.values())
    return {
        label: {
            **each,
            "connections": sum(_at(label, groups, name) for name in ("in_use", "idle", "cleaning")),
            "share": reads[label] / total if total else None,
            "connect": percentiles(each["connect"]),
        }
        for label, each in endpoints.items()
    }


def _at(label: str, groups: Figures, name: str) -> int:
    return sum(group["servers"][label][name] for group in groups.values() if label in group["servers"])


def percentiles(timing: Figures, at_once: int = 0) -> Figures:
    """Of the last minute, and its rate per second; None of nothing. ``at_once``: so many more took no time."""
    recent = Histogram(((int(number), count) for number, count in timing["recent"].items()), longest=timing["longest"])
    over = timing["over"]
    return {
        **{name: timing[name] for name in ("count", "seconds", "longest")},
        "mean": recent.mean,
        **{name: recent.quantile(part, at_once) for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        "rate": recent.count / over if over else None,
    }


def _sizes(groups: Figures, merged: Figures) -> Iterator[str]:
    """What connection_count would do."""
    serving = sum(worker["serves"] for worker in merged["workers"])
    for name, group in groups.items():
        seen = [each for each in merged["history"]["groups"].get(name, {}).get("in_use", []) if each is not None]
        peak = max(seen) if len(seen) >= _LONG_ENOUGH else None
        if advice := size_advice(name, group, serving, peak):
            yield advice


def _blocked(holder: Figures, places: dict[tuple[str, int], str | None]) -> Figures:
    """With the places of those of ours that block it."""
    server = holder["server"]
    return {**holder, "blocked_by": [{**by, "place": places.get((server, by["pid"]))} for by in holder["blocked_by"]]}
